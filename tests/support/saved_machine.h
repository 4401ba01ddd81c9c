/* saved_machine.h: a machine of two memory nodes with firmware tables, as lstopo would save it. */
#ifndef TARN_SAVED_MACHINE_H
#define TARN_SAVED_MACHINE_H

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* Two nodes as a machine with HMAT and SLIT tables tells them: the second has no processor. */
static const char saved_machine[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
    "<topology version=\"2.0\">\n"
    " <object type=\"Machine\" os_index=\"0\" cpuset=\"0x3\" complete_cpuset=\"0x3\""
    "  allowed_cpuset=\"0x3\" nodeset=\"0x21\" complete_nodeset=\"0x21\" allowed_nodeset=\"0x21\""
    "  gp_index=\"1\">\n"
    "  <object type=\"NUMANode\" os_index=\"0\" cpuset=\"0x3\" complete_cpuset=\"0x3\""
    "   nodeset=\"0x1\" complete_nodeset=\"0x1\" gp_index=\"5\" local_memory=\"1073741824\"/>\n"
    "  <object type=\"NUMANode\" os_index=\"5\" cpuset=\"0x0\" complete_cpuset=\"0x0\""
    "   nodeset=\"0x20\" complete_nodeset=\"0x20\" gp_index=\"6\" local_memory=\"2147483648\"/>\n"
    "  <object type=\"PU\" os_index=\"0\" cpuset=\"0x1\" complete_cpuset=\"0x1\" nodeset=\"0x21\""
    "   complete_nodeset=\"0x21\" gp_index=\"2\"/>\n"
    "  <object type=\"PU\" os_index=\"1\" cpuset=\"0x2\" complete_cpuset=\"0x2\" nodeset=\"0x21\""
    "   complete_nodeset=\"0x21\" gp_index=\"3\"/>\n"
    " </object>\n"
    " <distances2 type=\"NUMANode\" nbobjs=\"2\" kind=\"5\" indexing=\"os\" name=\"NUMALatency\">\n"
    "  <indexes length=\"4\">0 5 </indexes>\n"
    "  <u64values length=\"12\">10 21 17 10 </u64values>\n"
    " </distances2>\n"
    " <memattr name=\"Bandwidth\" flags=\"5\">\n"
    "  <memattr_value target_obj_gp_index=\"5\" target_obj_type=\"NUMANode\" value=\"90000\""
    "   initiator_cpuset=\"0x3\"/>\n"
    "  <memattr_value target_obj_gp_index=\"6\" target_obj_type=\"NUMANode\" value=\"20000\""
    "   initiator_cpuset=\"0x3\"/>\n"
    " </memattr>\n"
    " <memattr name=\"Latency\" flags=\"6\">\n"
    "  <memattr_value target_obj_gp_index=\"5\" target_obj_type=\"NUMANode\" value=\"80\""
    "   initiator_cpuset=\"0x3\"/>\n"
    "  <memattr_value target_obj_gp_index=\"6\" target_obj_type=\"NUMANode\" value=\"210\""
    "   initiator_cpuset=\"0x3\"/>\n"
    " </memattr>\n"
    "</topology>\n";

#define SAVED_MACHINE_TEMPLATE "/tmp/tarn-topology-XXXXXX"

/* Writes it to a new file; `path` starts as the template and ends as the file's name. */
static inline bool save_machine(char *path) {
  const int file = mkstemp(path);
  if (file < 0) return false;
  const ssize_t size = (ssize_t)sizeof saved_machine - 1;
  const bool is_written = write(file, saved_machine, (size_t)size) == size;
  close(file);
  return is_written;
}

#endif
