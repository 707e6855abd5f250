# tn_part(name INCLUDES dirs... ): one folder as an object library that sees its own headers and those
# below it.  All parts together are the library (library.cmake).
set_property(GLOBAL PROPERTY TN_PARTS "")
function(tn_part name)
  cmake_parse_arguments(PART "" "" "SOURCES;INCLUDES;OPTIONS;DEFINITIONS;LIBRARIES" ${ARGN})
  add_library(${name} OBJECT ${PART_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PART_INCLUDES})
  target_compile_options(${name} PRIVATE ${PART_OPTIONS})
  target_compile_definitions(${name} PRIVATE TN_INTERNAL ${PART_DEFINITIONS})
  target_link_libraries(${name} PRIVATE ${PART_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY TN_PARTS ${name})
endfunction()
