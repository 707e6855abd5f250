# The CUDA backend, libtenon_cuda.so: a module that the library opens at run time
# (src/tensor/device.c), so one build serves machines with and without a GPU.  It holds the CUDA
# runtime and needs no library of CUDA to load.
set(TN_HAVE_CUDA OFF)
if(NOT TN_CUDA STREQUAL "OFF")
  find_program(TN_NVCC nvcc HINTS /usr/local/cuda/bin)
  if(TN_NVCC AND NOT DEFINED ENV{CUDACXX})
    set(ENV{CUDACXX} ${TN_NVCC}) # not CMAKE_CUDA_COMPILER: that would be taken unchecked
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  find_package(CUDAToolkit 12.0 QUIET)
  if(CMAKE_CUDA_COMPILER AND CUDAToolkit_FOUND)
    set(TN_HAVE_CUDA ON)
  elseif(TN_CUDA STREQUAL "ON")
    message(FATAL_ERROR
            "TN_CUDA=ON, but there is no working CUDA compiler (nvcc: ${TN_NVCC}) or no CUDA Toolkit "
            "12.0 or later (found: ${CUDAToolkit_FOUND}). Install the CUDA Toolkit, name the compiler "
            "with -DCMAKE_CUDA_COMPILER=/path/to/nvcc, or build with -DTN_CUDA=OFF")
  endif()
endif()
message(STATUS "CUDA backend (TN_CUDA=${TN_CUDA}): ${TN_HAVE_CUDA}")
if(NOT TN_HAVE_CUDA)
  return()
endif()

# Machine code for A100 and H100/H200, and an intermediate form for cards to come.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 90-virtual)
endif()
set(CMAKE_CUDA_STANDARD 17)
enable_language(CUDA)

# cuDNN and cuBLASLt are opened at run time (libs/load.c); to build with them takes their headers alone.
file(GLOB sources CONFIGURE_DEPENDS src/tensor/cuda/*.c src/tensor/cuda/*.cu)
file(GLOB libs CONFIGURE_DEPENDS src/tensor/cuda/libs/*.c)
list(FILTER libs EXCLUDE REGEX "/none.c$")
# They may lie among the packages of Python alone, where PyTorch's are.
find_program(TN_PYTHON python3)
if(TN_PYTHON)
  execute_process(COMMAND ${TN_PYTHON} -c "import sysconfig; print(sysconfig.get_path('purelib'))"
                  OUTPUT_VARIABLE wheels OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
find_path(TN_CUDNN_HEADERS cudnn_graph.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS ${wheels}/nvidia/cudnn/include)
find_path(TN_CUBLASLT_HEADERS cublasLt.h HINTS ${CUDAToolkit_INCLUDE_DIRS}
          PATHS ${wheels}/nvidia/cu13/include ${wheels}/nvidia/cublas/include)
set(TN_CUDA_LIBS OFF)
if(TN_CUDNN_HEADERS AND TN_CUBLASLT_HEADERS)
  set(TN_CUDA_LIBS ON)
else()
  set(libs src/tensor/cuda/libs/none.c)
endif()
message(STATUS "CUDA backend with cuDNN and cuBLASLt: ${TN_CUDA_LIBS} (${TN_CUDNN_HEADERS}, ${TN_CUBLASLT_HEADERS})")
add_library(tenon_cuda_parts OBJECT ${sources} ${libs}) # apart from the module for tests/cuda
set_target_properties(tenon_cuda_parts PROPERTIES CUDA_VISIBILITY_PRESET hidden)
target_include_directories(tenon_cuda_parts PUBLIC include src/tensor src/tensor/cuda)
target_include_directories(tenon_cuda_parts SYSTEM PUBLIC ${CUDAToolkit_INCLUDE_DIRS})
if(TN_CUDA_LIBS)
  target_include_directories(tenon_cuda_parts SYSTEM PUBLIC ${TN_CUDNN_HEADERS} ${TN_CUBLASLT_HEADERS})
  target_compile_definitions(tenon_cuda_parts PRIVATE TN_CUDA_LIBRARIES="${CUDAToolkit_LIBRARY_DIR}")
  # NVIDIA's handles are all pointers to structs: a mix-up must not pass as a warning
  target_compile_options(tenon_cuda_parts PRIVATE $<$<COMPILE_LANGUAGE:C>:-Werror=incompatible-pointer-types>)
endif()
add_library(tenon_cuda MODULE $<TARGET_OBJECTS:tenon_cuda_parts>)
set_target_properties(tenon_cuda PROPERTIES LINKER_LANGUAGE C LIBRARY_OUTPUT_DIRECTORY $<TARGET_FILE_DIR:tenon>)
target_link_libraries(tenon_cuda PRIVATE CUDA::cudart_static ${CMAKE_DL_LIBS})
target_link_options(tenon_cuda PRIVATE LINKER:-z,defs)
# No fused multiply-adds, and in update rules no subnormal numbers: the optimizers' bits are those of the CPU.
target_compile_options(tenon_cuda_parts PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;-Xptxas=--warn-on-spills;-Xcompiler=-Wall,-Wextra>")
set_source_files_properties(src/tensor/cuda/optim.cu PROPERTIES COMPILE_OPTIONS -ftz=true)
if(TN_WERROR)
  target_compile_options(tenon_cuda_parts PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xptxas=--warning-as-error;-Xcompiler=-Werror>")
endif()
install(TARGETS tenon_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
