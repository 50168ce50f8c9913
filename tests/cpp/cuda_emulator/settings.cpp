// Settings and random numbers, and names of errors. See settings.hpp.
#include "settings.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace gtn::emulated {

namespace {

constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

// All of this is used under the runtime's lock.
std::string seed_text;
uint64_t state = 1;
std::string lie_text;
Lie lie = Lie::products;
int64_t first_lie = 0;        // launch with what is broken from which on it lies; 0: never
int64_t used = 0;             // launches with it since the setting was made
bool launch_counted = false;  // the running one
std::string lie_float_text;
int64_t lying_launch = 0;    // of those with fused products; 0: none
int64_t fused = 0;           // launches with fused products since the setting was made
bool fused_counted = false;  // the running one
std::string failure_text;
int64_t failure_calls = 0;

std::string setting(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? "" : value;
}

int64_t parsed(const char* name, const std::string& text, int64_t otherwise) {
  if (text.empty()) return otherwise;
  size_t end = 0;
  const int64_t value = std::stoll(text, &end);
  if (end != text.size()) throw std::invalid_argument(std::string(name) + "=" + setting(name));
  return value;
}

int64_t number(const char* name, int64_t otherwise) {
  return parsed(name, setting(name), otherwise);
}

cudaError_t named_error(const std::string& name) {
  for (const ErrorText& e : kErrors) {
    if (e.name == name) return e.error;
  }
  throw std::invalid_argument("GTN_EMULATOR_FAIL: unknown error " + name);
}

}  // namespace

void reseed_if_asked() {
  const std::string text = setting("GTN_EMULATOR_SEED");
  if (text == seed_text) return;
  seed_text = text;
  state = static_cast<uint64_t>(number("GTN_EMULATOR_SEED", 1));
}

uint64_t random_bits() {  // splitmix64
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

uint32_t random_below(uint32_t bound) {
  return static_cast<uint32_t>((random_bits() >> 32) * bound >> 32);
}

void note_launch() {
  launch_counted = fused_counted = false;
  if (const std::string text = setting("GTN_EMULATOR_LIE_FLOAT"); text != lie_float_text) {
    lie_float_text = text;
    lying_launch = number("GTN_EMULATOR_LIE_FLOAT", 0);
    fused = 0;
  }
  const std::string text = setting("GTN_EMULATOR_LIE");
  if (text == lie_text) return;
  lie_text = text;
  const size_t colon = text.find(':') + 1;  // 0: none
  const std::string what = text.substr(0, colon);
  lie = what == "short:" ? Lie::short_copies : what == "early:" ? Lie::early_copies : Lie::products;
  first_lie = parsed("GTN_EMULATOR_LIE", lie == Lie::products ? text : text.substr(colon), 0);
  used = 0;
}

bool lies(Lie what) {
  if (first_lie == 0 || what != lie) return false;
  if (!launch_counted) ++used;
  launch_counted = true;
  return used >= first_lie;
}

bool fused_products_lie() {
  if (lying_launch == 0) return false;
  if (!fused_counted) ++fused;
  fused_counted = true;
  return fused == lying_launch;
}

int junk_byte() {
  constexpr int kBytes[] = {0xff, 0xa5, 0x7b};
  return kBytes[random_below(3)];
}

int device_count() {
  return static_cast<int>(number("GTN_EMULATOR_DEVICES", 1));
}
int capability() {
  return static_cast<int>(number("GTN_EMULATOR_CAPABILITY", 80));
}
size_t device_memory() {
  return static_cast<size_t>(number("GTN_EMULATOR_MEMORY", int64_t{1} << 30));
}

cudaError_t injected_failure(const char* function) {
  const std::string text = setting("GTN_EMULATOR_FAIL");
  if (text != failure_text) {
    failure_text = text;
    failure_calls = 0;
  }
  const std::string name = function;
  if (text.compare(0, name.size() + 1, name + ":") != 0) return cudaSuccess;
  std::string which = text.substr(name.size() + 1);
  cudaError_t error = name.find("Alloc") != std::string::npos || name == "cudaMalloc"
                          ? cudaErrorMemoryAllocation
                          : cudaErrorUnknown;
  if (const size_t colon = which.find(':'); colon != std::string::npos) {
    error = named_error(which.substr(colon + 1));
    which.resize(colon);
  }
  const int64_t nth = std::stoll(which);
  return ++failure_calls == nth || nth == 0 ? error : cudaSuccess;
}

const ErrorText& describe(cudaError_t error) {
  for (const ErrorText& e : kErrors) {
    if (e.error == error) return e;
  }
  static const ErrorText unknown{error, "unrecognized error code", "unrecognized error code"};
  return unknown;
}

}  // namespace gtn::emulated
