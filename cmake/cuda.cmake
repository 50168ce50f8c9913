# The cuda backend, as GTN_CUDA asks: GTN_CUDA_TARGET is the library to link, or empty, and
# GTN_CUDA_MISSING then says why. Nothing of CUDA is needed to load what is built: its runtime is
# linked statically and finds the driver, or none, when it is first asked.
set(GTN_CUDA_LEAST 12.4)
set(GTN_CUDA_TARGET "")

if(NOT GTN_CUDA MATCHES "^(AUTO|ON|OFF|EMULATED)$")
  message(FATAL_ERROR "GTN_CUDA must be AUTO, ON, OFF or EMULATED, got ${GTN_CUDA}")
endif()

if(GTN_CUDA STREQUAL "OFF")
  set(GTN_CUDA_MISSING "this build was made without CUDA (GTN_CUDA=OFF)")
  return()
elseif(GTN_CUDA STREQUAL "EMULATED")
  set(GTN_CUDA_TARGET gtn_cuda_emulated)
  message(VERBOSE "CUDA: emulated on the CPU, for tests alone")
  return()
endif()

# AUTO is for the GPUs of this machine: without one, CUDA's compiler is not even looked for.
set(machine "") # compute capabilities such as 8.9; empty if there is no GPU or they are unknown
if(GTN_CUDA STREQUAL "AUTO")
  find_program(GTN_NVIDIA_SMI nvidia-smi PATHS /usr/lib/wsl/lib)
  mark_as_advanced(GTN_NVIDIA_SMI)
  set(status "nvidia-smi was not found")
  if(GTN_NVIDIA_SMI)
    execute_process(COMMAND ${GTN_NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader
                    TIMEOUT 30 RESULT_VARIABLE status OUTPUT_VARIABLE machine ERROR_QUIET)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]+" machine "${machine}")
  endif()
  file(GLOB nodes /dev/nvidia[0-9]*)
  if(NOT nodes AND NOT (status EQUAL 0 AND machine))
    string(CONCAT GTN_CUDA_MISSING "no GPU was found when this was built (GTN_CUDA=AUTO): "
                  "pip's option -C cmake.define.GTN_CUDA=ON builds it all the same")
    return()
  endif()
endif()

# Code is made for each architecture here and chosen by the command line below.
set(CMAKE_CUDA_ARCHITECTURES OFF)
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
endif()
if(NOT CMAKE_CUDA_COMPILER)
  set(GTN_CUDA_MISSING "no CUDA compiler was found when this was built (GTN_CUDA)")
elseif(NOT CMAKE_CUDA_COMPILER_ID STREQUAL "NVIDIA")
  set(GTN_CUDA_MISSING "the CUDA compiler that this was built with is not nvcc (GTN_CUDA)")
elseif(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS GTN_CUDA_LEAST)
  string(CONCAT GTN_CUDA_MISSING "the CUDA compiler that this was built with is "
                "${CMAKE_CUDA_COMPILER_VERSION}, and ${GTN_CUDA_LEAST} is needed (GTN_CUDA)")
endif()
if(GTN_CUDA_MISSING)
  if(GTN_CUDA STREQUAL "ON")
    message(FATAL_ERROR "GTN_CUDA=ON, but nvcc ${GTN_CUDA_LEAST} or newer is not there to build "
                        "it: ${GTN_CUDA_MISSING}")
  endif()
  message(VERBOSE "CUDA: not built: ${GTN_CUDA_MISSING}")
  return()
endif()

# Code for the capabilities below, which also runs on later ones of the same major number (90a, for
# one kernel's instructions, does not: it is 9.0's own). For all others the driver compiles the last
# one's intermediate code.
set(GTN_CUDA_CAPABILITIES "" CACHE STRING
    "Build for these capabilities alone, such as 90a: quicker, for one machine (empty: for all)")
set(real ${GTN_CUDA_CAPABILITIES})
if(NOT real AND machine)
  list(REMOVE_DUPLICATES machine)
  string(REPLACE "." "" real "${machine}")
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch
                  OUTPUT_VARIABLE known ERROR_QUIET)
  foreach(capability IN LISTS real)
    if(NOT known MATCHES "compute_${capability}[^0-9]")
      set(real "") # a GPU that this nvcc does not know: code for all, which its driver may compile
    endif()
  endforeach()
  list(TRANSFORM real REPLACE "^90$" "90a")
endif()
if(real)
  set(GTN_CUDA_CODE "")
  set(later "")
else()
  set(real 75 80 86 89 90a)
  set(intermediate 90)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
    list(APPEND real 100 120)
    set(intermediate 100)
  endif()
  set(GTN_CUDA_CODE "--generate-code=arch=compute_${intermediate},code=compute_${intermediate}")
  set(later " and, compiled by the driver, from ${intermediate} on")
endif()
foreach(capability IN LISTS real)
  list(APPEND GTN_CUDA_CODE "--generate-code=arch=compute_${capability},code=sm_${capability}")
endforeach()
list(JOIN real " " shown)
message(VERBOSE "CUDA: nvcc ${CMAKE_CUDA_COMPILER_VERSION}, for capabilities ${shown}${later}")

set(GTN_CUDA_TARGET gtn_cuda)
add_library(gtn_cuda STATIC ${GTN_CUDA_SOURCES})
target_link_libraries(gtn_cuda PUBLIC gtn_engine)
# For the files without kernels, which the C++ compiler compiles.
target_include_directories(gtn_cuda SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
# CMake before 3.26 does not know that nvcc has C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
# The kernel for 9.0a is empty in all other code, and must then not be offered.
if("90a" IN_LIST real)
  target_compile_definitions(gtn_cuda PRIVATE GTN_BUILT_90A)
endif()
set_target_properties(gtn_cuda PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON
                      CUDA_EXTENSIONS OFF CUDA_ARCHITECTURES OFF CUDA_RUNTIME_LIBRARY Static
                      CUDA_VISIBILITY_PRESET hidden)
# As on the host: no fused multiply-adds.
set(cuda --fmad=false -Xcompiler=-ffp-contract=off ${GTN_CUDA_CODE})
# nvcc's own host code is not pedantic, and its line directives are an extension.
set(host_warnings ${GTN_WARNINGS})
list(REMOVE_ITEM host_warnings -Wpedantic)
set(cxx -ffp-contract=off ${host_warnings})
list(JOIN host_warnings "," host_warnings)
list(APPEND cuda -Xcompiler=${host_warnings})
if(GTN_WARNINGS_AS_ERRORS)
  list(APPEND cuda --Werror=all-warnings)
endif()
target_compile_options(gtn_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${cuda}>"
                                        "$<$<COMPILE_LANGUAGE:CXX>:${cxx}>")
