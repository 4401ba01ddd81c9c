/* sim_graph.c: graphs and their executables: what was captured, run again and again. */
#include "cuda/sim/sim_graph.h"

#include <stdlib.h>

static CUgraph graphs;

typedef struct exec_node {
  sim_kind kind;
  sim_payload as;
  size_t dependency_count;
  size_t *dependencies; /* earlier ones, by their place */
  bool is_enqueued;     /* scratch of a launch */
} exec_node;

struct CUgraphExec_st {
  CUgraphExec next; /* of all */
  size_t node_count;
  exec_node *nodes;
  sim_mark *last; /* of the latest launch; a reference */
};

static CUgraphExec executables;

/* --- graphs --- */

CUgraph sim_graph_create(void) {
  CUgraph graph = calloc(1, sizeof *graph);
  if (graph == NULL) return NULL;
  graph->next = graphs;
  graphs = graph;
  sim.graph_count++;
  return graph;
}

void sim_graph_destroy(CUgraph graph) {
  CUgraph *link = &graphs;
  while (*link != graph) link = &(*link)->next;
  *link = graph->next;
  for (CUgraphNode node = graph->first, next = NULL; node != NULL; node = next) {
    next = node->next;
    if (node->kind == KIND_LAUNCH) sim_launch_release(node->as.launch);
    free(node);
  }
  free(graph);
  sim.graph_count--;
}

CUgraphNode sim_graph_add(CUgraph graph, const sim_op *op, const sim_frontier *behind) {
  CUgraphNode node = calloc(1, sizeof *node + behind->count * sizeof behind->nodes[0]);
  if (node == NULL) return NULL;
  node->index = graph->node_count++;
  node->kind = op->kind;
  node->as = op->as;
  if (op->kind == KIND_LAUNCH) sim_launch_retain(op->as.launch);
  node->dependency_count = behind->count;
  for (size_t i = 0; i < behind->count; i++) node->dependencies[i] = behind->nodes[i];
  if (graph->last != NULL) {
    graph->last->next = node;
  } else {
    graph->first = node;
  }
  graph->last = node;
  return node;
}

static bool is_graph(CUgraph graph) {
  CUgraph found = graphs;
  while (found != NULL && found != graph) found = found->next;
  return graph != NULL && found == graph;
}

CUresult cuGraphDestroy(CUgraph graph) {
  SIM_ENTER(cuGraphDestroy, SIM_NEEDS_INIT);
  if (!is_graph(graph) || sim_capture_fills(graph)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  sim_graph_destroy(graph);
  return sim_leave(CUDA_SUCCESS);
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
  SIM_ENTER(cuGraphGetNodes, SIM_NEEDS_INIT);
  if (!is_graph(graph) || count == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  if (nodes != NULL) {
    size_t index = 0;
    for (CUgraphNode node = graph->first; node != NULL && index < *count; node = node->next) {
      nodes[index++] = node;
    }
    for (size_t i = index; i < *count; i++) nodes[i] = NULL;
  }
  *count = graph->node_count;
  return sim_leave(CUDA_SUCCESS);
}

/* --- executables --- */

static void free_executable(CUgraphExec executable) {
  for (size_t i = 0; i < executable->node_count; i++) {
    exec_node *node = &executable->nodes[i];
    if (node->kind == KIND_LAUNCH && node->as.launch != NULL) sim_launch_release(node->as.launch);
    free(node->dependencies);
  }
  free(executable->nodes);
  sim_mark_release(executable->last);
  free(executable);
}

static bool copy_node(exec_node *to, const struct CUgraphNode_st *from) {
  to->kind = from->kind;
  to->as = from->as;
  if (to->kind == KIND_LAUNCH) sim_launch_retain(to->as.launch);
  to->dependencies = calloc(from->dependency_count + 1, sizeof *to->dependencies);
  if (to->dependencies == NULL) return false;
  to->dependency_count = from->dependency_count;
  for (size_t i = 0; i < from->dependency_count; i++) {
    to->dependencies[i] = from->dependencies[i]->index;
  }
  return true;
}

static CUgraphExec make_executable(CUgraph graph) {
  CUgraphExec made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  made->nodes = calloc(graph->node_count + 1, sizeof *made->nodes);
  bool is_made = made->nodes != NULL;
  for (CUgraphNode node = graph->first; is_made && node != NULL; node = node->next) {
    is_made = copy_node(&made->nodes[made->node_count++], node);
  }
  if (is_made) return made;
  free_executable(made);
  return NULL;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph,
                                     unsigned long long flags) {
  SIM_ENTER(cuGraphInstantiateWithFlags, SIM_NEEDS_CONTEXT);
  const unsigned long long known = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
  if (executable == NULL) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  *executable = NULL;
  if (!is_graph(graph) || sim_capture_fills(graph) || (flags & ~known) != 0) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  CUgraphExec made = make_executable(graph);
  if (made == NULL) return sim_leave(CUDA_ERROR_OUT_OF_MEMORY);
  made->next = executables;
  executables = made;
  sim.executable_count++;
  *executable = made;
  return sim_leave(CUDA_SUCCESS);
}

static bool is_executable(CUgraphExec executable) {
  CUgraphExec found = executables;
  while (found != NULL && found != executable) found = found->next;
  return executable != NULL && found == executable;
}

/* What was launched still runs. */
CUresult cuGraphExecDestroy(CUgraphExec executable) {
  SIM_ENTER(cuGraphExecDestroy, SIM_NEEDS_INIT);
  if (!is_executable(executable)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  CUgraphExec *link = &executables;
  while (*link != executable) link = &(*link)->next;
  *link = executable->next;
  free_executable(executable);
  sim.executable_count--;
  return sim_leave(CUDA_SUCCESS);
}

static bool is_like(const struct CUgraphExec_st *executable, const struct CUgraph_st *graph) {
  if (executable->node_count != graph->node_count) return false;
  for (const struct CUgraphNode_st *node = graph->first; node != NULL; node = node->next) {
    const exec_node *other = &executable->nodes[node->index];
    if (other->kind != node->kind || other->dependency_count != node->dependency_count) {
      return false;
    }
    for (size_t i = 0; i < node->dependency_count; i++) {
      if (other->dependencies[i] != node->dependencies[i]->index) return false;
    }
  }
  return true;
}

/* The same nodes in the same order, with other addresses and values; what was launched still runs
 * as it was. */
CUresult cuGraphExecUpdate(CUgraphExec executable, CUgraph graph,
                           CUgraphExecUpdateResultInfo *info) {
  SIM_ENTER(cuGraphExecUpdate, SIM_NEEDS_CONTEXT);
  if (!is_executable(executable) || !is_graph(graph) || sim_capture_fills(graph) || info == NULL) {
    return sim_leave(CUDA_ERROR_INVALID_VALUE);
  }
  *info = (CUgraphExecUpdateResultInfo){.result = CU_GRAPH_EXEC_UPDATE_SUCCESS};
  if (!is_like(executable, graph)) {
    info->result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    return sim_leave(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  }
  for (CUgraphNode node = graph->first; node != NULL; node = node->next) {
    exec_node *own = &executable->nodes[node->index];
    if (own->kind == KIND_LAUNCH) {
      sim_launch_release(own->as.launch);
      sim_launch_retain(node->as.launch);
    }
    own->as = node->as;
  }
  return sim_leave(CUDA_SUCCESS);
}

/* --- launching --- */

static bool is_next(const struct CUgraphExec_st *executable, const exec_node *node) {
  for (size_t i = 0; i < node->dependency_count; i++) {
    if (!executable->nodes[node->dependencies[i]].is_enqueued) return false;
  }
  return !node->is_enqueued;
}

/* One of the nodes that wait for no other any more: by chance where the policy is random, for a
 * graph orders no more than its edges say; else the one captured first. */
static exec_node *choose_next(struct CUgraphExec_st *executable) {
  size_t count = 0;
  for (size_t i = 0; i < executable->node_count; i++) {
    count += is_next(executable, &executable->nodes[i]);
  }
  size_t chosen = sim.policy == CUSIM_RANDOM ? (size_t)(sim_random() % count) : 0;
  for (size_t i = 0;; i++) {
    if (is_next(executable, &executable->nodes[i]) && chosen-- == 0) return &executable->nodes[i];
  }
}

static CUresult enqueue_node(sim_queue *queue, sim_kind kind, const sim_payload *as) {
  sim_op *op = sim_op_create(queue, kind);
  if (op == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  op->as = *as;
  if (kind == KIND_WAIT) sim_mark_retain(op->as.wait_for);
  if (kind == KIND_LAUNCH) sim_launch_retain(op->as.launch);
  return sim_op_enqueue(op);
}

/* The work of the graph becomes the stream's, one behind the other. Launches of one executable wait
 * for each other, whatever streams they are on. Where memory runs out, what was enqueued before
 * stays. */
static CUresult launch(CUgraphExec executable, sim_queue *queue) {
  CUresult result = CUDA_SUCCESS;
  if (executable->last != NULL) { /* done or not, it is an order */
    const sim_payload earlier = {.wait_for = executable->last};
    result = enqueue_node(queue, KIND_WAIT, &earlier);
  }
  for (size_t i = 0; i < executable->node_count; i++) executable->nodes[i].is_enqueued = false;
  for (size_t i = 0; i < executable->node_count && result == CUDA_SUCCESS; i++) {
    exec_node *node = choose_next(executable);
    node->is_enqueued = true;
    result = enqueue_node(queue, node->kind, &node->as);
  }
  if (executable->node_count != 0) {
    sim_mark *last = sim_mark_retain(queue->tail);
    sim_mark_release(executable->last);
    executable->last = last;
  }
  return result;
}

/* In a capture it would be a node of its own; that is left out. */
CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  SIM_ENTER(cuGraphLaunch, SIM_NEEDS_CONTEXT);
  sim_queue *queue;
  if (!is_executable(executable)) return sim_leave(CUDA_ERROR_INVALID_VALUE);
  const CUresult result = sim_queue_to_enqueue(stream, &queue);
  if (result != CUDA_SUCCESS) return sim_leave(result);
  if (queue->capture != NULL) return sim_leave(CUDA_ERROR_NOT_SUPPORTED);
  return sim_leave(launch(executable, queue));
}
