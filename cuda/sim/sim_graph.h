/* sim_graph.h: graphs, and captures that make them: what sim_capture.c and sim_graph.c share.
 *
 *     graph: [node] <- [node] <- [node]        a node waits for those that its arrows point to
 *                   <- [node] <-'
 *
 * While a stream is captured, nothing it is given is enqueued: it becomes a node behind the
 * stream's frontier, and the frontier is that node from then on. An event recorded then marks the
 * frontier; a stream that waits for the event takes it over and is in the capture, too. */
#ifndef SIM_GRAPH_H
#define SIM_GRAPH_H

#include "cuda/sim/sim.h"

struct CUgraphNode_st {
  struct CUgraphNode_st *next; /* in the order of their making: behind all that it waits for */
  size_t index;
  sim_kind kind;
  sim_payload as;
  size_t dependency_count;
  bool is_marked; /* scratch */
  CUgraphNode dependencies[];
};

struct CUgraph_st {
  CUgraph next; /* of all graphs */
  CUgraphNode first;
  CUgraphNode last;
  size_t node_count;
};

struct sim_capture {
  struct sim_capture *next; /* of all that go on */
  size_t reference_count;   /* its streams, and events recorded in it */
  unsigned long long id;
  CUgraph graph; /* NULL once it is over */
  sim_queue *origin;
  CUstreamCaptureMode mode;
  uint64_t thread; /* that began it */
  bool is_broken;  /* invalidated: nothing but its end is left */
  bool is_over;
};

CUgraph sim_graph_create(void);
void sim_graph_destroy(CUgraph graph);
/* Takes the operation's payload; NULL: no memory. */
CUgraphNode sim_graph_add(CUgraph graph, const sim_op *op, const sim_frontier *behind);

#endif
