# Options, and the interface target `tricolor_internal` that carries flags and definitions to all code of this project
# (library, tests, benchmarks). Examples and the demo get only the warnings: they must build as a user's code would.

set(TRI_DEBUG 0 CACHE STRING "Tier of internal assertions: 0 none, 1 cheap, 2 all")
set_property(CACHE TRI_DEBUG PROPERTY STRINGS 0 1 2)
option(TRI_TORTURE "Collect at every n-th allocation, shrink every constant, delay handshakes" OFF)
option(TRI_DELAYS "Named points at which threads can be delayed; a part of TRI_TORTURE" OFF)
option(TRI_SABOTAGE "Pieces of the collector can be left out, to see that tests notice; never for use" OFF)
option(TRI_FAULTS "Every system call and allocation can be made to fail" OFF)
set(TRI_SANITIZE "" CACHE STRING "Sanitizer: empty, address, thread or undefined")
set_property(CACHE TRI_SANITIZE PROPERTY STRINGS "" address thread undefined)
option(TRI_WERROR "Warnings are errors" OFF)
set(TRI_TESTS ${PROJECT_IS_TOP_LEVEL} CACHE STRING "Build the tests: ON (if there is Criterion), REQUIRED, OFF")
set_property(CACHE TRI_TESTS PROPERTY STRINGS ON REQUIRED OFF)
option(TRI_PROGRAMS "Build examples, demo and benchmarks" ${PROJECT_IS_TOP_LEVEL})
set(TRI_TEST_TIMEOUT 300 CACHE STRING "Seconds after which a test counts as hung")

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT CMAKE_BUILD_TYPE AND NOT multi_config)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()
# Debug is -O1 rather than -Og, whose warnings about uninitialised variables are often wrong.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g -fno-omit-frame-pointer")

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
    set(TRI_ARCH x86_64)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set(TRI_ARCH aarch64)
else()
    message(FATAL_ERROR "tricolor runs on x86-64 and aarch64, not on ${CMAKE_SYSTEM_PROCESSOR}")
endif()

find_program(TRI_CCACHE ccache)
if(TRI_CCACHE AND NOT CMAKE_C_COMPILER_LAUNCHER)
    set(CMAKE_C_COMPILER_LAUNCHER "${TRI_CCACHE}")
endif()

set(TRI_SANITIZE_FLAGS "")
if(TRI_SANITIZE)
    set(TRI_SANITIZE_FLAGS "-fsanitize=${TRI_SANITIZE}")
    if(TRI_SANITIZE STREQUAL "undefined")
        list(APPEND TRI_SANITIZE_FLAGS -fsanitize=float-cast-overflow -fno-sanitize-recover=all)
    endif()
endif()

set(TRI_WARNINGS -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla)
if(TRI_WERROR)
    list(APPEND TRI_WARNINGS -Werror)
endif()

# TRI_DEBUG has a value in every file of the project; the switches are defined, as 1, only where they are on. Public
# headers cannot rely on either. What differs from the defaults the libraries pass on to their users, whose inline code
# must match.
set(TRI_SWITCHES "")
if(TRI_TORTURE OR TRI_SABOTAGE)
    set(TRI_DELAYS ON)
endif()
foreach(switch IN ITEMS TRI_TORTURE TRI_DELAYS TRI_SABOTAGE TRI_FAULTS)
    if(${switch})
        list(APPEND TRI_SWITCHES ${switch}=1)
    endif()
endforeach()
set(TRI_PUBLIC_DEFINITIONS ${TRI_SWITCHES})
if(TRI_DEBUG GREATER 0)
    list(APPEND TRI_PUBLIC_DEFINITIONS TRI_DEBUG=${TRI_DEBUG})
endif()

# Warnings alone, for examples and the demo.
add_library(tricolor_warnings INTERFACE)
target_compile_options(tricolor_warnings INTERFACE "$<$<COMPILE_LANGUAGE:C>:${TRI_WARNINGS}>")

add_library(tricolor_internal INTERFACE)
target_link_libraries(tricolor_internal INTERFACE tricolor_warnings)
target_compile_options(tricolor_internal INTERFACE ${TRI_SANITIZE_FLAGS})
target_compile_definitions(tricolor_internal INTERFACE
    _GNU_SOURCE= # empty, so that a file's own `#define _GNU_SOURCE` is no redefinition
    TRI_DEBUG=${TRI_DEBUG} ${TRI_SWITCHES})
if(TRI_ARCH STREQUAL "x86_64")
    target_compile_options(tricolor_internal INTERFACE -mcx16) # cmpxchg16b, which every x86-64 since 2006 has
endif()
