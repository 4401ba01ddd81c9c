# install.cmake: the umbrella header, and what `cmake --install` puts where.
#
#     include/tarn/tarn.h               includes all of the next line
#     include/tarn/{alloc,tensor,numa,cuda}/tarn_*.h
#     include/tarn/alloc/adapters/*/tarn_*.h, tarn.hpp
#     share/doc/tarn/examples/*         a provider, pools and a stream of one's own
#     lib/libtarn.so*, lib/libtarn.a
#     lib/cmake/tarn/tarnConfig.cmake   targets tarn::tarn and tarn::static
#     lib/pkgconfig/tarn.pc, tarn-static.pc
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(TARN_INCLUDE_DIR ${CMAKE_INSTALL_INCLUDEDIR}/tarn)
set(TARN_CONFIG_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/tarn)
set(umbrella_includes "")
foreach(folder alloc tensor numa cuda)
  file(GLOB headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
    ${PROJECT_SOURCE_DIR}/${folder}/tarn_*.h)
  foreach(header ${headers})
    string(APPEND umbrella_includes "#include \"${header}\"\n")
    install(FILES ${PROJECT_SOURCE_DIR}/${header} DESTINATION ${TARN_INCLUDE_DIR}/${folder})
  endforeach()
endforeach()
# The umbrella leaves the adapters out: who plugs tarn into something includes what that needs.
file(GLOB headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
  ${PROJECT_SOURCE_DIR}/alloc/adapters/*/tarn_*.h ${PROJECT_SOURCE_DIR}/alloc/adapters/*/tarn.hpp)
foreach(header ${headers})
  cmake_path(GET header PARENT_PATH folder)
  install(FILES ${PROJECT_SOURCE_DIR}/${header} DESTINATION ${TARN_INCLUDE_DIR}/${folder})
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/alloc/examples DESTINATION ${CMAKE_INSTALL_DOCDIR})
configure_file(${CMAKE_CURRENT_LIST_DIR}/tarn.h.in ${CMAKE_BINARY_DIR}/include/tarn.h @ONLY)
target_include_directories(tarn INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
  $<BUILD_INTERFACE:${CMAKE_BINARY_DIR}/include> $<INSTALL_INTERFACE:${TARN_INCLUDE_DIR}>)

install(FILES ${CMAKE_BINARY_DIR}/include/tarn.h DESTINATION ${TARN_INCLUDE_DIR})
install(TARGETS tarn EXPORT tarnTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${TARN_STATIC_LIBRARY} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT tarnTargets NAMESPACE tarn:: DESTINATION ${TARN_CONFIG_DIR})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/tarnConfig.cmake.in
  ${CMAKE_BINARY_DIR}/cmake/tarnConfig.cmake INSTALL_DESTINATION ${TARN_CONFIG_DIR}
  PATH_VARS CMAKE_INSTALL_LIBDIR TARN_INCLUDE_DIR)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/cmake/tarnConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/cmake/tarnConfig.cmake
  ${CMAKE_BINARY_DIR}/cmake/tarnConfigVersion.cmake DESTINATION ${TARN_CONFIG_DIR})

# The prefix is where the file is found, so that an installed tree may be moved.
file(RELATIVE_PATH TARN_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" TARN_PC_TO_PREFIX "${TARN_PC_TO_PREFIX}")
foreach(name tarn tarn-static)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${name}.pc.in ${CMAKE_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
