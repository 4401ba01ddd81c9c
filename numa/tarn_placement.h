/* tarn_placement.h: on which memory nodes pages shall lie, and where they do lie.
 *
 * A placement is a value: what is wished. Resolving it against a topology gives nodes and a mode of
 * the kernel; binding a range of addresses with that gives what was granted; and where pages really
 * lie only the kernel can tell, so it is asked.
 *
 * A strict placement holds for every page, or the call that would break it fails. Any other one is
 * a preference: where a node is full, the kernel takes memory elsewhere rather than fail.
 */
#ifndef TARN_PLACEMENT_H
#define TARN_PLACEMENT_H

#include "numa/tarn_topology.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  TARN_PLACEMENT_NODES_MAX = 16,
  TARN_PLACEMENT_PIECES_MAX = 256, /* into which one range is cut, each a mapping of the kernel */
  TARN_PLACEMENT_PCI_BYTES = 32,
};

typedef enum tarn_placement_kind {
  TARN_PLACEMENT_DEFAULT = 0,     /* none: the kernel decides, page by page, by who touches it */
  TARN_PLACEMENT_NODE = 1,        /* nodes[0] */
  TARN_PLACEMENT_NEAR_DEVICE = 2, /* the node nearest to pci_bus_id */
  TARN_PLACEMENT_NEAR_THREAD = 3, /* the node nearest to the thread that resolves it */
  TARN_PLACEMENT_INTERLEAVE = 4,  /* the nodes in turn */
  TARN_PLACEMENT_WEIGHTED = 5,    /* the nodes in turn, each in proportion to its weight */
  TARN_PLACEMENT_ORDERED = 6,     /* the first of the nodes that has room, in the order given */
  TARN_PLACEMENT_ATTRIBUTE = 7,   /* the best node by `attribute` that has least_free_bytes */
} tarn_placement_kind;

enum {
  TARN_PLACEMENT_STRICT = 1u << 0,
  TARN_PLACEMENT_MOVE = 1u << 1, /* pages that are there already move; else they stay */
  /* Strict, and not refused where the nodes have no room for all of the range now: for addresses
   * that are filled bit by bit, or never. */
  TARN_PLACEMENT_UNCHECKED = 1u << 2,
};

typedef struct tarn_placement {
  size_t struct_size;
  tarn_placement_kind kind;
  uint32_t flags;
  /* NODE: one. INTERLEAVE, WEIGHTED, ORDERED: all that shall be used; 0: every node but a GPU's
   * own, for ORDERED the nearest to the thread first. NEAR_DEVICE: 0, or one, the node that the
   * GPU's driver names: it counts where the topology does not know the device. ATTRIBUTE: 0, or
   * one, from which the nodes are seen; otherwise they are seen from pci_bus_id's node where that
   * is given, and from the thread that resolves. */
  int32_t node_count;
  int32_t nodes[TARN_PLACEMENT_NODES_MAX];
  uint32_t weights[TARN_PLACEMENT_NODES_MAX]; /* WEIGHTED; all 0: by bandwidth as measured */
  char pci_bus_id[TARN_PLACEMENT_PCI_BYTES];  /* "0000:17:00.0" */
  tarn_node_attribute attribute;              /* ATTRIBUTE */
  size_t least_free_bytes;                    /* ATTRIBUTE: what the node must have room for */
  /* What one turn of INTERLEAVE and WEIGHTED has per weight, a multiple of page_bytes. 0: base
   * pages where the kernel can do that by itself, else 2 MiB, more for ranges that would need more
   * than TARN_PLACEMENT_PIECES_MAX pieces. */
  size_t stripe_bytes;
  /* Of the memory that will be bound, a power of two: pieces end between two such pages. 0: base
   * pages. A provider puts in its own. */
  size_t page_bytes;
} tarn_placement;

typedef enum tarn_placement_mode {
  TARN_PLACEMENT_MODE_NONE = 0,       /* nothing is bound */
  TARN_PLACEMENT_MODE_BIND = 1,       /* nodes[0] alone */
  TARN_PLACEMENT_MODE_PREFER = 2,     /* nodes[0], and when it is full what is near to it */
  TARN_PLACEMENT_MODE_INTERLEAVE = 3, /* the kernel takes the nodes in turn, base page by page */
  TARN_PLACEMENT_MODE_STRIPES = 4,    /* tarn cuts the range, and binds or prefers each piece */
  TARN_PLACEMENT_MODE_ORDER = 5,      /* tarn cuts by the room that the nodes have when it binds */
} tarn_placement_mode;

/* What a placement means on one topology for ranges of one size. Made by tarn_placement_resolve. */
typedef struct tarn_placement_resolved {
  size_t struct_size;
  tarn_placement_mode mode;
  uint32_t flags; /* the placement's */
  int32_t node_count;
  int32_t nodes[TARN_PLACEMENT_NODES_MAX];
  uint32_t weights[TARN_PLACEMENT_NODES_MAX]; /* STRIPES: 1 and more; else 0 */
  size_t stripe_bytes;                        /* STRIPES: of one weight; else 0 */
  size_t page_bytes;
  bool is_measured; /* the firmware told what decided; false: nothing was to decide, or it did not
                     * tell, and the order of tarn_topology_best_node decided */
  bool is_short;    /* no node has least_free_bytes, and the best of all is preferred */
} tarn_placement_resolved;

/* What the kernel agreed to. It says nothing of pages yet: ask tarn_placement_verify. */
typedef struct tarn_placement_granted {
  size_t struct_size;
  tarn_placement_resolved resolved;
  /* False where nothing was to bind, and where this process may not bind memory (EPERM or ENOSYS
   * in a container): with one node all pages lie on it anyway, with several the placement is a
   * wish that was not granted. */
  bool is_bound;
  bool is_strict;       /* no page can come to lie on another node than the ones asked */
  bool is_order_kept;   /* ORDER: a node that fills up early is followed by one of those asked */
  int32_t refused_code; /* the errno, where the kernel refused what was only preferred */
  int32_t piece_count;  /* that the range was cut into; 0 where nothing was bound */
  size_t node_bytes[TARN_PLACEMENT_NODES_MAX]; /* of the range, by resolved.nodes; all 0 for
                                                * INTERLEAVE, where the kernel decides */
} tarn_placement_granted;

/* Where the pages of a range lie. */
typedef struct tarn_placement_pages {
  size_t struct_size;
  size_t page_bytes; /* base pages */
  size_t untouched_pages;
  int32_t node_count; /* that pages were found on, in order of their numbers */
  int32_t nodes[TARN_PLACEMENT_NODES_MAX];
  size_t node_pages[TARN_PLACEMENT_NODES_MAX];
  size_t other_pages; /* on further nodes, where there are more than fit */
} tarn_placement_pages;

/* Says what `placement` means for ranges of size_bytes (0: not known). Binds nothing, so any
 * topology will do, also one that is not this machine's; but NEAR_THREAD, and what is seen from the
 * thread, needs one on which a thread runs, and ATTRIBUTE asks for the room of this moment.
 *
 * TARN_INVALID_ARGUMENT: unknown kinds and flags, fields that the kind has no use for, nodes named
 * twice, strides and pages that do not fit. TARN_UNAVAILABLE: a node that the topology does not
 * have, or a device that it cannot place. TARN_NOT_FOUND: a device that it does not have.
 * TARN_OUT_OF_MEMORY: strict, by attribute, and no node has the room. TARN_NOT_SUPPORTED: "every
 * node", where there are more than TARN_PLACEMENT_NODES_MAX. */
TARN_API TARN_NODISCARD tarn_status tarn_placement_resolve(const tarn_topology *topology,
                                                           const tarn_placement *placement,
                                                           size_t size_bytes,
                                                           tarn_placement_resolved *resolved);

/* Resolves, and binds [address, address + size_bytes), whole base pages of one or several mappings.
 * The policy belongs to the addresses: it holds for every page touched later, and touched again
 * after it was given back to the kernel, until they are unmapped. DEFAULT takes a policy away.
 * `granted` may be NULL.
 *
 *     kind            strict                          preferred
 *     one node        that node                       that node, else by distance from it
 *     INTERLEAVE      stripes, each on its node       base pages in turn, by the kernel
 *     WEIGHTED        stripes, each on its node       stripes, each prefers its node
 *     ORDERED         the nodes given, in order       the nodes given, in order, then others
 *
 * The order of ORDERED: the kernel itself knows one order only, by distance. Where the nodes are
 * given in that order (each farther from the first, by 3 at least: closer ones the kernel may swap)
 * it holds for every page at every moment. Otherwise the range is cut by the room that the nodes
 * have now, the first node's room first; if a node fills up before its piece is touched, its pages
 * come from those of the given nodes that are nearest to it. Kernels before 6.7, which do not keep
 * an order for huge pages, have the cut alone: there such pages come from the nearest of all, or,
 * strict, not at all (is_order_kept says which).
 *
 * Pieces: each is a mapping of its own, of which the kernel gives a process 65530
 * (vm.max_map_count).
 *
 * A strict placement without TARN_PLACEMENT_UNCHECKED is refused with TARN_OUT_OF_MEMORY where the
 * nodes or the control group lack the room for what is not there yet: touching it would end the
 * process. It is TARN_NOT_SUPPORTED where this process may not bind memory and there are several
 * nodes; TARN_BUSY where pages lie elsewhere already and stay there. TARN_UNAVAILABLE: the topology
 * is not this machine's. After a failure the range has no policy. */
TARN_API TARN_NODISCARD tarn_status tarn_placement_apply(const tarn_topology *topology,
                                                         const tarn_placement *placement,
                                                         void *address, size_t size_bytes,
                                                         tarn_placement_granted *granted);

/* Asks the kernel where each page of the range lies (move_pages; some 0.1 us a page). The caller
 * sets placed->struct_size. TARN_NOT_SUPPORTED where it does not tell. */
TARN_API TARN_NODISCARD tarn_status tarn_placement_verify(const void *address, size_t size_bytes,
                                                          tarn_placement_pages *placed);

/* Counts how many of the pages of [address, address + size_bytes) lie on `node`, lie on another,
 * and were never touched, by asking the kernel (move_pages). Any of the three may be NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_node_verify(const void *address, size_t size_bytes,
                                                     int32_t node, size_t *on_node_pages,
                                                     size_t *elsewhere_pages,
                                                     size_t *untouched_pages);

#ifdef __cplusplus
}
#endif
#endif
