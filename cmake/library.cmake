# libtenon.so and libtenon.a out of the parts, and their installation: headers, pkg-config, CMake package.
get_property(parts GLOBAL PROPERTY TN_PARTS)
set(objects "")
foreach(part ${parts})
  list(APPEND objects $<TARGET_OBJECTS:${part}>)
endforeach()

add_library(tenon SHARED ${objects})
add_library(tenon_static STATIC ${objects})
set_target_properties(tenon_static PROPERTIES OUTPUT_NAME tenon EXPORT_NAME static)
set_target_properties(tenon PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
target_link_options(tenon PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/tenon.map
                    $<$<NOT:$<BOOL:${TN_SANITIZE}>>:-Wl,--no-undefined>) # sanitizers come with the program
set_target_properties(tenon PROPERTIES LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/tenon.map)
foreach(library tenon tenon_static)
  target_include_directories(${library} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                               $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
target_link_libraries(tenon PRIVATE PkgConfig::JANSSON PkgConfig::ARCHIVE ZLIB::ZLIB Threads::Threads
                                    ${CMAKE_DL_LIBS} m)
# by name, so that the installed package asks for nothing but the linker's own search
target_link_libraries(tenon_static PUBLIC jansson archive z pthread ${CMAKE_DL_LIBS} m)

install(TARGETS tenon tenon_static EXPORT tenon-targets)
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT tenon-targets NAMESPACE tenon:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tenon)
include(CMakePackageConfigHelpers)
file(WRITE ${PROJECT_BINARY_DIR}/tenon-config.cmake "include(\${CMAKE_CURRENT_LIST_DIR}/tenon-targets.cmake)\n")
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tenon-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tenon-config.cmake ${PROJECT_BINARY_DIR}/tenon-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tenon)
# relative to where the file lies, so that an installed tree can be moved
file(RELATIVE_PATH TN_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/tenon.pc.in ${PROJECT_BINARY_DIR}/tenon.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tenon.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
