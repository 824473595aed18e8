# Tests, found by globbing. tests/<room>/<file>.c becomes the Criterion program and test `test_<room>_<file>`;
# tests/<room>/<file>.sh becomes a test of the same kind of name, run with bash; tests/support/*.c is a small library
# that every test links. A test that needs something special says so in a comment near its top:
#
#     ctest: timeout=600 serial long build=thread,address
#
# `serial`: nothing else runs beside it. `long`: it gets the label long, which `./dev test` leaves out without --long.
# `build`: it is there in builds of these kinds alone: release, debug, torture, or the name of a sanitizer.
# An exit code of 77 means skipped.

# Without Criterion there are no tests, which is an error only for who wants them (TRI_TESTS=REQUIRED): the demo and the
# benchmarks need less.
pkg_check_modules(CRITERION IMPORTED_TARGET criterion)
if(NOT CRITERION_FOUND)
    if(TRI_TESTS STREQUAL "REQUIRED")
        message(FATAL_ERROR "the tests need Criterion (Debian: libcriterion-dev)")
    endif()
    message(STATUS "No Criterion: building without tests")
    return()
endif()

set(TRI_TEST_ENVIRONMENT
    "TRI_SOURCE_DIR=${PROJECT_SOURCE_DIR}" "TRI_BUILD_DIR=${PROJECT_BINARY_DIR}" "TRI_CC=${CMAKE_C_COMPILER}"
    "TRI_CMAKE=${CMAKE_COMMAND}" "TRI_NM=${CMAKE_NM}" "TRI_READELF=${CMAKE_READELF}"
    "TRI_STATIC_LIBRARY=$<TARGET_FILE:tricolor_static>" "TRI_SHARED_LIBRARY=$<TARGET_FILE:tricolor_shared>"
    # Conservative scanning needs the real stack, and the leak checker sees neither our heap nor coroutine stacks.
    # Running out of memory is tested, and so are children of programs with threads.
    "ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=0:allocator_may_return_null=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:allocator_may_return_null=1:die_after_fork=0"
    "UBSAN_OPTIONS=print_stacktrace=1")

# The thread sanitizer of gcc 12 and clang 14 does not know how to live with 32 bits of address-space randomisation,
# nor Criterion with the addresses that the sanitizer forbids.
set(TRI_TEST_LAUNCHER)
set(TRI_TEST_EXTRA_SOURCES)
if(TRI_SANITIZE STREQUAL "thread")
    set(TRI_TEST_EXTRA_SOURCES "${PROJECT_SOURCE_DIR}/cmake/criterion_under_tsan.c")
    # It runs before the sanitizer is ready.
    set_source_files_properties(${TRI_TEST_EXTRA_SOURCES} PROPERTIES COMPILE_OPTIONS -fno-sanitize=all)
    execute_process(COMMAND setarch -R true RESULT_VARIABLE cannot OUTPUT_QUIET ERROR_QUIET)
    if(NOT cannot) # some containers forbid it
        set(TRI_TEST_LAUNCHER setarch -R)
    endif()
endif()

if(TRI_SANITIZE)
    set(TRI_BUILD_KIND ${TRI_SANITIZE})
elseif(TRI_TORTURE)
    set(TRI_BUILD_KIND torture)
elseif(TRI_DEBUG GREATER 0)
    set(TRI_BUILD_KIND debug)
else()
    set(TRI_BUILD_KIND release)
endif()

# Drops the tests that are for another kind of build.
function(tricolor_tests_of_this_build list)
    set(kept)
    foreach(source IN LISTS ${list})
        file(READ "${source}" head LIMIT 4096)
        set(kinds ${TRI_BUILD_KIND})
        if(head MATCHES "ctest:[^\n]* build=([a-z,]+)")
            string(REPLACE "," ";" kinds "${CMAKE_MATCH_1}")
        endif()
        if(TRI_BUILD_KIND IN_LIST kinds)
            list(APPEND kept "${source}")
        endif()
    endforeach()
    set(${list} ${kept} PARENT_SCOPE)
endfunction()

function(tricolor_test_properties test room source)
    set(labels ${room})
    set(timeout ${TRI_TEST_TIMEOUT})
    file(READ "${source}" head LIMIT 4096)
    if(head MATCHES "ctest: ([^\n]*)")
        set(marks "${CMAKE_MATCH_1}")
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
        if(marks MATCHES "timeout=([0-9]+)")
            set(timeout ${CMAKE_MATCH_1})
        endif()
        if(marks MATCHES "serial")
            set_property(TEST ${test} PROPERTY RUN_SERIAL ON)
        endif()
        if(marks MATCHES "long")
            list(APPEND labels long)
        endif()
    endif()
    set_tests_properties(${test} PROPERTIES
        LABELS "${labels}" TIMEOUT ${timeout} SKIP_RETURN_CODE 77 ENVIRONMENT "${TRI_TEST_ENVIRONMENT}")
endfunction()

file(GLOB support CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/support/*.c")
add_library(tricolor_test_support INTERFACE)
target_include_directories(tricolor_test_support INTERFACE "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/tests")
target_link_libraries(tricolor_test_support INTERFACE
    tricolor_internal tricolor::static PkgConfig::CRITERION PkgConfig::ATOMIC_OPS m)
if(support)
    add_library(tricolor_test_support_objects STATIC ${support})
    target_link_libraries(tricolor_test_support_objects PUBLIC tricolor_test_support)
endif()

file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/*/*.c")
list(REMOVE_ITEM sources "" ${support})
tricolor_tests_of_this_build(sources)
foreach(source IN LISTS sources)
    get_filename_component(folder "${source}" DIRECTORY)
    get_filename_component(room "${folder}" NAME)
    get_filename_component(file "${source}" NAME_WE)
    set(test test_${room}_${file})
    add_executable(${test} "${source}" ${TRI_TEST_EXTRA_SOURCES})
    set_target_properties(${test} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
    target_link_libraries(${test} PRIVATE tricolor_test_support)
    if(support)
        target_link_libraries(${test} PRIVATE tricolor_test_support_objects)
    endif()
    # One job: ctest already runs several programs side by side.
    add_test(NAME ${test} COMMAND ${TRI_TEST_LAUNCHER} $<TARGET_FILE:${test}> --jobs 1)
    tricolor_test_properties(${test} ${room} "${source}")
endforeach()

file(GLOB scripts CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/*/*.sh")
tricolor_tests_of_this_build(scripts)
foreach(source IN LISTS scripts)
    get_filename_component(folder "${source}" DIRECTORY)
    get_filename_component(room "${folder}" NAME)
    get_filename_component(file "${source}" NAME_WE)
    add_test(NAME test_${room}_${file} COMMAND bash "${source}")
    tricolor_test_properties(test_${room}_${file} ${room} "${source}")
endforeach()

# An example whose output is always the same has it beside it, in <name>.expected, and is run as a test.
file(GLOB expected CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/examples/*.expected")
foreach(output IN LISTS expected)
    get_filename_component(name "${output}" NAME_WE)
    if(TARGET example_${name})
        add_test(NAME example_${name} COMMAND bash -c "set -o pipefail; \"$1\" | diff -u \"$2\" -" compare
            $<TARGET_FILE:example_${name}> "${output}")
        tricolor_test_properties(example_${name} examples "${PROJECT_SOURCE_DIR}/examples/${name}.c")
    endif()
endforeach()
