// What this processor and its operating system can do, as far as scan kernels need it. Compiled
// without instruction-set flags, so that asking is safe everywhere.
#pragma once

#include <string>

namespace gtn {

// Why the instructions of the kernel of that name cannot run here; empty if they can. Only for
// kernels of this processor family. For AMX the first call asks Linux to let this process use
// tiles.
std::string lacking_for(const std::string& kernel);

}  // namespace gtn
