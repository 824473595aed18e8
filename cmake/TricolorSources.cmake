# Which files make the library: each room's own *.c and *.S, and those in its folders named after the system (linux)
# and the processor (x86_64, aarch64). A file name that ends in an instruction set belongs to that processor alone and
# is compiled for that set; who calls it asks the processor first.

set(TRI_ROOMS os heap barrier gc runtime inspect)

set(TRI_FLAGS_avx2 -mavx2 -mbmi -mbmi2)
set(TRI_FLAGS_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vbmi2 -mbmi -mbmi2)

function(tricolor_library_sources out)
    set(sources)
    foreach(room IN LISTS TRI_ROOMS)
        foreach(folder IN ITEMS ${room} ${room}/linux ${room}/${TRI_ARCH})
            file(GLOB found CONFIGURE_DEPENDS LIST_DIRECTORIES false
                "${PROJECT_SOURCE_DIR}/${folder}/*.c" "${PROJECT_SOURCE_DIR}/${folder}/*.S")
            list(APPEND sources ${found})
        endforeach()
    endforeach()

    foreach(set IN ITEMS avx2 avx512)
        set(kernels ${sources})
        list(FILTER kernels INCLUDE REGEX "_${set}\\.c$")
        if(kernels AND TRI_ARCH STREQUAL "x86_64")
            set_property(SOURCE ${kernels} APPEND PROPERTY COMPILE_OPTIONS ${TRI_FLAGS_${set}})
        elseif(kernels)
            list(REMOVE_ITEM sources ${kernels})
        endif()
    endforeach()

    set(${out} ${sources} PARENT_SCOPE)
endfunction()
