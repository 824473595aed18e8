# `cmake --install`: headers, both libraries, a pkg-config file and a CMake package with the targets
# tricolor::tricolor (shared) and tricolor::static.

include(CMakePackageConfigHelpers)

install(TARGETS tricolor_shared tricolor_static EXPORT tricolorTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tricolor)
install(EXPORT tricolorTargets NAMESPACE tricolor:: DESTINATION ${package_dir})
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/tricolorConfig.cmake.in"
    "${PROJECT_BINARY_DIR}/tricolorConfig.cmake" INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/tricolorConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/tricolorConfig.cmake" "${PROJECT_BINARY_DIR}/tricolorConfigVersion.cmake"
    DESTINATION ${package_dir})

set(TRI_PC_CFLAGS ${TRI_PUBLIC_DEFINITIONS})
list(TRANSFORM TRI_PC_CFLAGS PREPEND "-D")
list(APPEND TRI_PC_CFLAGS ${TRI_SANITIZE_FLAGS})
list(JOIN TRI_PC_CFLAGS " " TRI_PC_CFLAGS)
list(JOIN TRI_SANITIZE_FLAGS " " TRI_PC_LIBS)
# Where the files lie is told from where the .pc file lies, so that an installed tree can be moved.
file(RELATIVE_PATH TRI_PC_PREFIX "/p/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/p")
string(REGEX REPLACE "/$" "" TRI_PC_PREFIX "${TRI_PC_PREFIX}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/tricolor.pc.in" "${PROJECT_BINARY_DIR}/tricolor.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/tricolor.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
