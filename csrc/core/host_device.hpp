// GTN_HD: marks a function that the host and the device share: one source, one order of operations.
#pragma once

#ifdef __CUDACC__
#define GTN_HD __host__ __device__
#else
#define GTN_HD
#endif
