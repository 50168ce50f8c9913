# Finds Python and pybind11. pip installs pybind11 in a new temporary folder for every build. A copy
# of its headers in the build folder has the same path each time, so that neither Ninja nor ccache
# takes a new folder for new sources.
find_package(Python REQUIRED QUIET COMPONENTS Interpreter Development.Module)
find_package(pybind11 CONFIG REQUIRED QUIET)
set(GTN_PYBIND11 ${CMAKE_BINARY_DIR}/pybind11-${pybind11_VERSION})
if(NOT EXISTS ${GTN_PYBIND11})
  file(COPY ${pybind11_INCLUDE_DIR}/pybind11 DESTINATION ${GTN_PYBIND11}.part)
  file(RENAME ${GTN_PYBIND11}.part ${GTN_PYBIND11})
endif()
set_target_properties(pybind11::pybind11_headers PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES ${GTN_PYBIND11})
