# jemalloc.cmake: the target tarn_jemalloc, a jemalloc that only tarn sees.
#
# TARN_JEMALLOC=source   built once from the distribution's source package, shared by all build
#                        folders below TARN_DEPS_DIR; libtarn.so then loads by dlopen anywhere.
# TARN_JEMALLOC=archive  the distribution's libjemalloc_pic.a with its symbols renamed. Quick, but
#                        its TLS is initial-exec: dlopen of libtarn.so fails with "cannot allocate
#                        memory in static TLS block". For programs that link tarn.
set(TARN_JEMALLOC source CACHE STRING "Where the private jemalloc comes from: source or archive")
set_property(CACHE TARN_JEMALLOC PROPERTY STRINGS source archive)
set(TARN_JEMALLOC_TARBALL "" CACHE FILEPATH "jemalloc's release tarball, where there is no network")
set(TARN_DEPS_DIR ${PROJECT_SOURCE_DIR}/build/deps CACHE PATH "Built dependencies, shared")

if(TARN_JEMALLOC STREQUAL "source")
  set(script ${CMAKE_CURRENT_LIST_DIR}/jemalloc_build.sh)
  set(sealed ${CMAKE_CURRENT_LIST_DIR}/jemalloc_sealed.h)
  # Another script or another machine is another jemalloc.
  file(SHA256 ${script} script_hash)
  file(SHA256 ${sealed} sealed_hash)
  string(SHA256 recipe "${script_hash} ${sealed_hash} ${CMAKE_SYSTEM_PROCESSOR}")
  string(SUBSTRING ${recipe} 0 8 recipe)
  set(jemalloc_dir ${TARN_DEPS_DIR}/jemalloc-5.3.0-${recipe})
  set(jemalloc_archive ${jemalloc_dir}/lib/libjemalloc.a)
  if(NOT EXISTS ${jemalloc_archive})
    message(STATUS "Fetching the source of jemalloc 5.3.0 into ${jemalloc_dir}")
    execute_process(COMMAND ${script} fetch ${jemalloc_dir} ${TARN_JEMALLOC_TARBALL}
      RESULT_VARIABLE fetch_result ERROR_VARIABLE fetch_error ERROR_STRIP_TRAILING_WHITESPACE)
    if(NOT fetch_result EQUAL 0)
      message(FATAL_ERROR "${fetch_error}")
    endif()
  endif()
  set(jemalloc_include ${jemalloc_dir}/include)
  file(MAKE_DIRECTORY ${jemalloc_include}) # an imported target's folder must exist by now
  add_custom_command(OUTPUT ${jemalloc_archive}
    COMMAND ${script} build ${jemalloc_dir} ${CMAKE_C_COMPILER}
    COMMENT "Building jemalloc 5.3.0, once for all build folders (about a minute)" VERBATIM)
elseif(TARN_JEMALLOC STREQUAL "archive")
  find_path(JEMALLOC_INCLUDE_DIR jemalloc/jemalloc.h REQUIRED)
  find_library(JEMALLOC_PIC_ARCHIVE NAMES libjemalloc_pic.a REQUIRED)
  set(renames ${CMAKE_CURRENT_LIST_DIR}/jemalloc_renames.syms)
  set(jemalloc_include ${JEMALLOC_INCLUDE_DIR})
  set(jemalloc_archive ${CMAKE_CURRENT_BINARY_DIR}/libjemalloc.a)
  add_custom_command(OUTPUT ${jemalloc_archive}
    COMMAND ${CMAKE_OBJCOPY} --redefine-syms=${renames} ${JEMALLOC_PIC_ARCHIVE}
      ${jemalloc_archive}.new
    COMMAND ${CMAKE_AR} d ${jemalloc_archive}.new jemalloc_cpp.pic.o # operators new and delete
    COMMAND ${CMAKE_RANLIB} ${jemalloc_archive}.new
    COMMAND ${CMAKE_COMMAND} -E rename ${jemalloc_archive}.new ${jemalloc_archive}
    DEPENDS ${JEMALLOC_PIC_ARCHIVE} ${renames}
    COMMENT "Renaming the symbols of libjemalloc_pic.a" VERBATIM)
else()
  message(FATAL_ERROR "TARN_JEMALLOC is \"${TARN_JEMALLOC}\"; it can be source or archive")
endif()

add_custom_target(tarn_jemalloc_build DEPENDS ${jemalloc_archive})
add_library(tarn_jemalloc STATIC IMPORTED GLOBAL)
set_target_properties(tarn_jemalloc PROPERTIES IMPORTED_LOCATION ${jemalloc_archive}
  INTERFACE_INCLUDE_DIRECTORIES ${jemalloc_include}
  INTERFACE_COMPILE_DEFINITIONS "JEMALLOC_NO_RENAME" # je_mallocx is called je_mallocx
  INTERFACE_LINK_LIBRARIES "m;Threads::Threads")
add_dependencies(tarn_jemalloc tarn_jemalloc_build)
