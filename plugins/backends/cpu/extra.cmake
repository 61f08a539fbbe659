# The kernels are compiled once for each instruction set, always optimised (their tests would take minutes otherwise); the
# processor decides at run time. Other architectures build the baseline alone.
pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)
target_link_libraries(${PRN_PLUGIN_TARGET} PRIVATE PkgConfig::OPENBLAS m)
set(PRN_KERNEL_FLAGS "-O3 -fno-math-errno -fno-trapping-math -Wno-psabi")
set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/kernels_baseline.c PROPERTIES COMPILE_FLAGS "${PRN_KERNEL_FLAGS}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/kernels_avx2.c PROPERTIES COMPILE_FLAGS "${PRN_KERNEL_FLAGS} -mavx2 -mfma -mprfchw")
  set(PRN_AVX512_FLAGS "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mprfchw -mprefer-vector-width=512")
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/kernels_avx512.c PROPERTIES COMPILE_FLAGS "${PRN_KERNEL_FLAGS} ${PRN_AVX512_FLAGS}")
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/kernels_avx512_bf16.c PROPERTIES COMPILE_FLAGS "${PRN_KERNEL_FLAGS} ${PRN_AVX512_FLAGS} -mavx512bf16")
endif()
