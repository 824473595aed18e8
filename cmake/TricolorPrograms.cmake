# Programs that use the library: examples/*.c and the demo see only the public headers and link the shared library, as
# a user would; so does tricolor-bench (bench/tricolor), but linked statically, as its peers are. Other programs of bench/
# link the static library and may look inside.

if(NOT TRI_PROGRAMS)
    return()
endif()

file(GLOB examples CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/examples/*.c")
set(demo)
foreach(source IN LISTS examples)
    get_filename_component(name "${source}" NAME_WE)
    if(name STREQUAL "demo")
        set(demo "${source}")
        continue()
    endif()
    add_executable(example_${name} "${source}")
    target_link_libraries(example_${name} PRIVATE tricolor_warnings tricolor::tricolor)
endforeach()

file(GLOB demo_folder CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/demo/*.c")
if(demo_folder)
    set(demo ${demo_folder})
endif()
if(demo)
    add_executable(tricolor-demo ${demo})
    target_link_libraries(tricolor-demo PRIVATE tricolor_warnings tricolor::tricolor)
endif()

file(GLOB benches CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/*.c")
foreach(source IN LISTS benches)
    get_filename_component(name "${source}" NAME_WE)
    add_executable(bench_${name} "${source}")
    target_include_directories(bench_${name} PRIVATE "${PROJECT_SOURCE_DIR}")
    target_link_libraries(bench_${name} PRIVATE tricolor_internal tricolor::static m)
endforeach()

file(GLOB workloads CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/tricolor/*.c")
if(workloads)
    add_executable(tricolor-bench ${workloads})
    target_link_libraries(tricolor-bench PRIVATE tricolor_warnings tricolor::static m)
endif()
