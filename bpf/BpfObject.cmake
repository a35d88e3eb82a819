# bpf_object(NAME SOURCE [TC] [INCLUDE DIR...]): compiles SOURCE for the kernel and makes its skeleton.
# bpf_stage(NAME SOURCE [INCLUDE DIR...]): compiles SOURCE for both hooks, as NAME_bpf and NAME_tc_bpf.
#
# Gives the target NAME_skel to link; `#include "NAME.skel.h"` then has struct and class NAME.
# Headers are tracked by the compiler's own dependency file.

find_program(EVNF_CLANG NAMES clang-19 clang-18 clang-17 clang-16 clang-15 clang REQUIRED)
find_program(EVNF_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

set(EVNF_BPF_INCLUDE ${CMAKE_CURRENT_LIST_DIR}/include)
# <asm/types.h> of the build host, as the compiler for the host finds it.
set(EVNF_BPF_FLAGS -g -O2 -target bpf -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter
    -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE})

function(bpf_object name source)
  cmake_parse_arguments(PARSE_ARGV 2 arg "TC" "" "INCLUDE")
  get_filename_component(source ${source} ABSOLUTE)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf.o)
  set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/${name}.skel.h)
  set(includes -I${EVNF_BPF_INCLUDE})
  set(hook $<$<BOOL:${arg_TC}>:-DEVNF_BUILD_TC>)
  foreach(directory IN LISTS arg_INCLUDE)
    list(APPEND includes -I${directory})
  endforeach()

  add_custom_command(
    OUTPUT ${object}
    COMMAND ${EVNF_CLANG} ${EVNF_BPF_FLAGS} ${hook} ${includes} -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
    DEPENDS ${source}
    DEPFILE ${object}.d
    COMMAND_EXPAND_LISTS
    COMMENT "Compiling ${name} for the kernel"
    VERBATIM)
  add_custom_command(
    OUTPUT ${skeleton}
    COMMAND sh -c "\"$1\" gen skeleton \"$2\" name \"$3\" > \"$4.new\" && mv \"$4.new\" \"$4\"" --
            ${EVNF_BPFTOOL} ${object} ${name} ${skeleton}
    DEPENDS ${object}
    COMMENT "Generating the skeleton of ${name}"
    VERBATIM)
  add_custom_target(${name}_skel_files DEPENDS ${skeleton})
  add_library(${name}_skel INTERFACE)
  add_dependencies(${name}_skel ${name}_skel_files)
  target_include_directories(${name}_skel SYSTEM INTERFACE ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${name}_skel INTERFACE PkgConfig::libbpf)
endfunction()

function(bpf_stage name source)
  bpf_object(${name}_bpf ${source} ${ARGN})
  bpf_object(${name}_tc_bpf ${source} TC ${ARGN})
endfunction()
