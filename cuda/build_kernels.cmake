# build_kernels.cmake: cmake -P: device code for all GPUs, compiled once for each state of it.
#
# NVCC, SOURCE_DIR (the root), SOURCES (relative to it; the first is compiled), CACHE_DIR, OUTPUT.
# What was compiled before lies in CACHE_DIR under a name made of everything that it depends on:
# several builds of one tree, and the next one after a clean, only copy it.
# What is compiled for 8.0 runs on 8.6 and 8.9 as it is; others than these compile the PTX.
set(archs 75 80 90 100 120)

execute_process(COMMAND ${NVCC} --version OUTPUT_VARIABLE version RESULT_VARIABLE failed)
execute_process(COMMAND ${NVCC} --list-gpu-code OUTPUT_VARIABLE known)
execute_process(COMMAND ${NVCC} --help OUTPUT_VARIABLE help)
set(flags -fatbin --threads 0 -I${SOURCE_DIR} -gencode=arch=compute_75,code=compute_75)
foreach(arch ${archs})
  if(known MATCHES "sm_${arch}[\n;]")
    list(APPEND flags -gencode=arch=compute_${arch},code=sm_${arch})
  endif()
endforeach()
if(help MATCHES "compress-mode")
  list(APPEND flags -compress-mode=size)
endif()

set(state "${version}${flags}")
string(REPLACE "${SOURCE_DIR}" "" state "${state}")
foreach(source ${SOURCES})
  file(SHA256 ${SOURCE_DIR}/${source} hash)
  string(APPEND state ${hash})
endforeach()
string(SHA256 name "${state}")
string(SUBSTRING ${name} 0 16 name)
set(cached ${CACHE_DIR}/kernels-${name}.fatbin)

if(NOT EXISTS ${cached})
  file(MAKE_DIRECTORY ${CACHE_DIR})
  list(GET SOURCES 0 main)
  execute_process(
    COMMAND ${NVCC} ${flags} -o ${OUTPUT}.made ${SOURCE_DIR}/${main}
    RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(failed)
    message(FATAL_ERROR "${NVCC} does not compile ${main}:\n${said}\n"
      "Without it the PTX in cuda/kernels.ptx is taken: -DTARN_NVCC=OFF")
  endif()
  file(RENAME ${OUTPUT}.made ${cached})
endif()
file(COPY_FILE ${cached} ${OUTPUT})
