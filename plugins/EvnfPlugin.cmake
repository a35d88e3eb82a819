# evnf_plugin(NAME SOURCE... [FAST_PATH FILE.bpf.c] [LIBRARIES TARGET...]): a network function.
#
# Builds lib/evnf/NAME.so, and NAME_slowpath, the same sources as a library for unit tests.
# FAST_PATH gives a skeleton for each hook: `#include "NAME_bpf.skel.h"` and `#include "NAME_tc_bpf.skel.h"`.
function(evnf_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "FAST_PATH" "LIBRARIES")
  add_library(${name}_slowpath OBJECT ${arg_UNPARSED_ARGUMENTS})
  target_include_directories(${name}_slowpath PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name}_slowpath PUBLIC evnf evnf_options spdlog::spdlog ${arg_LIBRARIES})
  target_precompile_headers(${name}_slowpath REUSE_FROM evnf)
  if(arg_FAST_PATH)
    bpf_stage(${name} ${arg_FAST_PATH} INCLUDE ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(${name}_slowpath PUBLIC ${name}_bpf_skel ${name}_tc_bpf_skel)
  endif()
  add_library(${name} MODULE)
  target_link_libraries(${name} PRIVATE ${name}_slowpath)
  set_target_properties(${name} PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${EVNF_PLUGIN_DIR})
  add_dependencies(product ${name})
  install(TARGETS ${name} LIBRARY DESTINATION lib/evnf)
endfunction()
