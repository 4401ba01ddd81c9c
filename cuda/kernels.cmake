# kernels.cmake: the device code that goes into the library: compiled here, or the PTX of the tree.
#
# The CUDA language of CMake is not needed: nvcc makes one file of code for all GPUs, and
# kernel_image.c takes it in as it is. Where there is no nvcc, kernels.ptx is taken, from which the
# driver compiles for its GPU when the kernels are first used. `cmake --build BUILD --target
# kernels_ptx` makes that anew; a test says when it is older than its sources.
set(TARN_NVCC "" CACHE STRING "nvcc for the kernels; empty: looked for; OFF: the tree's PTX")
set(TARN_KERNEL_SOURCES
  cuda/kernels.cu
  cuda/kernel_args.h
  cuda/kernel_device.h
  cuda/kernel_list.h
  cuda/kernel_run.h
  cuda/kernel_turn.h
  cuda/kernel_values.h
  cuda/kernel_convert.h)
set_property(GLOBAL PROPERTY TARN_KERNEL_SOURCES ${TARN_KERNEL_SOURCES})

set(tarn_nvcc "${TARN_NVCC}")
if(tarn_nvcc STREQUAL "")
  find_program(TARN_NVCC_FOUND nvcc
    HINTS ${CUDAToolkit_BIN_DIR} ${TARN_CUDA_INCLUDE_DIR}/../bin /usr/local/cuda/bin)
  set(tarn_nvcc "${TARN_NVCC_FOUND}")
endif()

set_property(GLOBAL PROPERTY TARN_KERNEL_NVCC "${tarn_nvcc}")
if(tarn_nvcc)
  set(TARN_KERNEL_IMAGE ${CMAKE_CURRENT_BINARY_DIR}/kernels.fatbin)
  list(TRANSFORM TARN_KERNEL_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE kernel_files)
  add_custom_command(OUTPUT ${TARN_KERNEL_IMAGE}
    COMMAND ${CMAKE_COMMAND} -DNVCC=${tarn_nvcc} -DSOURCE_DIR=${PROJECT_SOURCE_DIR}
      "-DSOURCES=${TARN_KERNEL_SOURCES}" -DCACHE_DIR=${TARN_DEPS_DIR}/kernels
      -DOUTPUT=${TARN_KERNEL_IMAGE} -P ${CMAKE_CURRENT_LIST_DIR}/build_kernels.cmake
    DEPENDS ${kernel_files} ${CMAKE_CURRENT_LIST_DIR}/build_kernels.cmake
    COMMENT "Compiling kernels for all GPUs"
    VERBATIM)
  add_custom_target(kernel_image DEPENDS ${TARN_KERNEL_IMAGE})
  add_dependencies(tarn_objects kernel_image)
  find_package(Python3 QUIET COMPONENTS Interpreter)
  if(Python3_FOUND)
    add_custom_target(kernels_ptx
      COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/make_ptx.py ${tarn_nvcc}
        ${PROJECT_SOURCE_DIR} ${TARN_KERNEL_SOURCES}
      VERBATIM)
  endif()
  message(STATUS "CUDA: kernels by ${tarn_nvcc}")
else()
  set(TARN_KERNEL_IMAGE ${CMAKE_CURRENT_LIST_DIR}/kernels.ptx)
  message(STATUS "CUDA: kernels from the tree's PTX, for there is no nvcc")
endif()
set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/kernel_image.c
  TARGET_DIRECTORY tarn_objects PROPERTIES
  OBJECT_DEPENDS ${TARN_KERNEL_IMAGE}
  COMPILE_DEFINITIONS "TARN_KERNEL_IMAGE=\"${TARN_KERNEL_IMAGE}\"")
