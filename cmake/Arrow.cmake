# Arrow C++ comes from the pyarrow wheel, which ships libraries and headers but no CMake package.
# The targets below are what an ArrowConfig.cmake would have given.
if(NOT Python_EXECUTABLE AND EXISTS "${CMAKE_SOURCE_DIR}/.venv/bin/python")
  set(Python_EXECUTABLE "${CMAKE_SOURCE_DIR}/.venv/bin/python")
endif()
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)

execute_process(
  COMMAND "${Python_EXECUTABLE}" -c
          "import importlib.util as u, os; print(os.path.dirname(u.find_spec('pyarrow').origin))"
  OUTPUT_VARIABLE ZERROW_PYARROW_DIR OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)

foreach(component arrow arrow_compute arrow_acero arrow_dataset arrow_python parquet)
  file(GLOB library "${ZERROW_PYARROW_DIR}/lib${component}.so.*00")
  if(NOT library)
    message(FATAL_ERROR "lib${component} isn't in ${ZERROW_PYARROW_DIR}: is the pinned pyarrow installed?")
  endif()
  add_library(Arrow::${component} SHARED IMPORTED)
  set_target_properties(Arrow::${component} PROPERTIES
    IMPORTED_LOCATION "${library}"
    INTERFACE_INCLUDE_DIRECTORIES "${ZERROW_PYARROW_DIR}/include")
endforeach()
target_link_libraries(Arrow::arrow_compute INTERFACE Arrow::arrow)
target_link_libraries(Arrow::arrow_acero INTERFACE Arrow::arrow_compute)
target_link_libraries(Arrow::parquet INTERFACE Arrow::arrow)
target_link_libraries(Arrow::arrow_dataset INTERFACE Arrow::parquet Arrow::arrow_acero)
target_link_libraries(Arrow::arrow_python INTERFACE Arrow::arrow)
