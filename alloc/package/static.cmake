# static.cmake: libtarn.a, one object in which only tarn's own names are global.
#
# A static library cannot hide names from the program it is linked into, so its objects are joined
# first, jemalloc's with them, and all that is not exported by libtarn.so becomes local.
set(TARN_STATIC_LIBRARY ${CMAKE_BINARY_DIR}/libtarn.a)
set(joined ${CMAKE_BINARY_DIR}/CMakeFiles/tarn_joined.o)
add_custom_command(OUTPUT ${TARN_STATIC_LIBRARY}
  COMMAND ${CMAKE_LINKER} -r -o ${joined} $<TARGET_OBJECTS:tarn_objects>
    --whole-archive $<TARGET_FILE:tarn_jemalloc>
  COMMAND ${CMAKE_OBJCOPY} --wildcard "--keep-global-symbol=tarn_[a-z]*" ${joined}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${TARN_STATIC_LIBRARY}
  COMMAND ${CMAKE_AR} rcs ${TARN_STATIC_LIBRARY} ${joined}
  DEPENDS tarn_objects $<TARGET_OBJECTS:tarn_objects> $<TARGET_FILE:tarn_jemalloc>
  COMMAND_EXPAND_LISTS COMMENT "Joining libtarn.a" VERBATIM)
add_custom_target(tarn_static ALL DEPENDS ${TARN_STATIC_LIBRARY})
