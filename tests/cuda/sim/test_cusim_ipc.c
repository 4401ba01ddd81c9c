/* test_cusim_ipc.c: handles of the simulated driver for other processes, and what is refused. */
#include "tests/cuda/sim/cusim_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { CHILD_SOCKET = 3, BLOCK_BYTES = 5000, GRANULE = 2 << 20 };

/* What the child tells first. */
typedef struct offer {
  CUipcMemHandle block;
  CUipcEventHandle event;
} offer;

/* Owns a block full of 9 and an event. 'f' frees the block and answers whether the context is
 * sound after that; the end of the socket is the child's. */
static int own(void) {
  CUcontext context;
  CUdeviceptr block = 0;
  CUevent event;
  offer made;
  char command;
  alarm(60);
  CU(cuInit(0));
  CU(cuDevicePrimaryCtxRetain(&context, 0));
  CU(cuCtxPushCurrent(context));
  CU(cuMemAlloc(&block, BLOCK_BYTES));
  CU(cuMemsetD8(block, 9, BLOCK_BYTES));
  CU(cuCtxSynchronize());
  CU(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS));
  CU(cuEventRecord(event, NULL));
  CU(cuCtxSynchronize());
  CU(cuIpcGetMemHandle(&made.block, block));
  CU(cuIpcGetEventHandle(&made.event, event));
  if (write(CHILD_SOCKET, &made, sizeof made) != (ssize_t)sizeof made) return 1;
  while (read(CHILD_SOCKET, &command, 1) == 1) {
    const CUresult freed = cuMemFree(block);
    const char answer = freed == CUDA_SUCCESS && cuCtxSynchronize() == CUDA_SUCCESS ? 'k' : 'b';
    if (write(CHILD_SOCKET, &answer, 1) != 1) return 1;
  }
  return 0;
}

static pid_t start_owner(int *socket, offer *told) {
  int ends[2];
  pid_t child = 0;
  posix_spawn_file_actions_t actions;
  char name[] = "test_cusim_ipc", role[] = "own";
  char *arguments[] = {name, role, NULL};
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
  assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], CHILD_SOCKET), 0);
  assert_int_equal(posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  *socket = ends[0];
  assert_int_equal(read(*socket, told, sizeof *told), sizeof *told);
  return child;
}

static void end_owner(pid_t child, int socket) {
  int how = 0;
  close(socket);
  kill(child, SIGKILL);
  assert_int_equal(waitpid(child, &how, 0), child);
}

static CUresult open_block(const offer *told, CUdeviceptr *address) {
  return cuIpcOpenMemHandle(address, told->block, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
}

CUSIM_TEST(a_block_is_opened_once_and_closed_as_often_as_opened) {
  offer told;
  int socket;
  unsigned char bytes[BLOCK_BYTES] = {0};
  CUdeviceptr first = 0, second = 0;
  const pid_t child = start_owner(&socket, &told);
  assert_int_equal(cuIpcOpenMemHandle(&first, told.block, 0), CUDA_ERROR_INVALID_VALUE);
  CU(open_block(&told, &first));
  CU(open_block(&told, &second));
  assert_true(first == second);
  CU(cuMemcpyDtoH(bytes, first, BLOCK_BYTES));
  assert_int_equal(bytes[0], 9);
  assert_int_equal(bytes[BLOCK_BYTES - 1], 9);
  assert_int_equal(cuMemFree(first), CUDA_ERROR_INVALID_VALUE);
  CU(cuIpcCloseMemHandle(first));
  CU(cuMemcpyDtoH(bytes, first, 1));
  CU(cuIpcCloseMemHandle(first));
  assert_int_equal(cuIpcCloseMemHandle(first), CUDA_ERROR_INVALID_VALUE);
  end_owner(child, socket);
}

CUSIM_TEST(what_a_dead_process_left_is_no_memory) {
  offer told;
  int socket;
  unsigned char byte = 0;
  CUdeviceptr block = 0;
  CUevent event;
  const pid_t child = start_owner(&socket, &told);
  CU(open_block(&told, &block));
  end_owner(child, socket);
  assert_int_equal(cuMemcpyDtoH(&byte, block, 1), CUDA_ERROR_INVALID_VALUE);
  CU(cuIpcCloseMemHandle(block));
  assert_int_equal(open_block(&told, &block), CUDA_ERROR_INVALID_HANDLE);
  assert_int_equal(cuIpcOpenEventHandle(&event, told.event), CUDA_ERROR_INVALID_HANDLE);
}

CUSIM_TEST(freeing_what_another_process_has_open_breaks_the_context) {
  for (int is_open = 0; is_open < 2; is_open++) {
    offer told;
    int socket;
    char answer = 0;
    CUdeviceptr block = 0;
    const pid_t child = start_owner(&socket, &told);
    CU(open_block(&told, &block));
    if (!is_open) CU(cuIpcCloseMemHandle(block));
    assert_int_equal(write(socket, "f", 1), 1);
    assert_int_equal(read(socket, &answer, 1), 1);
    assert_int_equal(answer, is_open ? 'b' : 'k');
    if (is_open) CU(cuIpcCloseMemHandle(block));
    end_owner(child, socket);
  }
}

CUSIM_TEST(an_opened_event_is_waited_for_and_not_recorded) {
  offer told;
  int socket;
  CUevent event;
  CUstream stream = cusim_fixture_stream();
  const pid_t child = start_owner(&socket, &told);
  CU(cuIpcOpenEventHandle(&event, told.event));
  CU(cuEventQuery(event));
  CU(cuEventSynchronize(event));
  CU(cuStreamWaitEvent(stream, event, 0));
  assert_int_equal(cuEventRecord(event, stream), CUDA_ERROR_NOT_SUPPORTED);
  CU(cuEventDestroy(event));
  CU(cuStreamSynchronize(stream));
  CU(cuStreamDestroy(stream));
  end_owner(child, socket);
}

CUSIM_TEST(handles_are_not_for_the_process_that_made_them) {
  CUipcMemHandle block_handle;
  CUipcEventHandle event_handle;
  CUevent event, opened, plain = cusim_fixture_event();
  CUdeviceptr block = cusim_fixture_device(100), address = 0;
  CU(cuIpcGetMemHandle(&block_handle, block));
  assert_int_equal(cuIpcGetMemHandle(&block_handle, block + 1), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuIpcOpenMemHandle(&address, block_handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS),
                   CUDA_ERROR_INVALID_CONTEXT);
  CU(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS));
  CU(cuIpcGetEventHandle(&event_handle, event));
  assert_int_equal(cuIpcOpenEventHandle(&opened, event_handle), CUDA_ERROR_INVALID_CONTEXT);
  assert_int_equal(cuIpcGetEventHandle(&event_handle, plain), CUDA_ERROR_INVALID_HANDLE);
  memset(&block_handle, 0, sizeof block_handle);
  assert_int_equal(cuIpcOpenMemHandle(&address, block_handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS),
                   CUDA_ERROR_INVALID_VALUE);
  CU(cuEventDestroy(plain));
  CU(cuEventDestroy(event));
  CU(cuMemFree(block));
}

static CUmemGenericAllocationHandle create(CUmemAllocationHandleType type) {
  const CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                          .requestedHandleTypes = type,
                                          .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};
  CUmemGenericAllocationHandle handle = 0;
  CU(cuMemCreate(&handle, GRANULE, &properties, 0));
  return handle;
}

CUSIM_TEST(only_memory_made_for_it_has_a_descriptor) {
  const CUmemAllocationHandleType type = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  const CUmemGenericAllocationHandle shared = create(type), own_alone = create(0);
  CUmemGenericAllocationHandle imported = 0;
  int descriptor = -1;
  assert_int_equal(cuMemExportToShareableHandle(&descriptor, own_alone, type, 0),
                   CUDA_ERROR_INVALID_VALUE);
  CU(cuMemExportToShareableHandle(&descriptor, shared, type, 0));
  CU(cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)descriptor, type));
  const int stranger = open("/dev/zero", O_RDWR | O_CLOEXEC);
  assert_int_equal(cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)stranger, type),
                   CUDA_ERROR_INVALID_VALUE);
  close(stranger);
  close(descriptor);
  CU(cuMemRelease(shared));
  assert_int_equal(cusim_fixture_counts().physical_blocks, 2);
  CU(cuMemRelease(imported));
  CU(cuMemRelease(own_alone));
  assert_int_equal(cusim_fixture_counts().physical_blocks, 0);
}

int main(int argument_count, char **arguments) {
  setenv("CUSIM_DEVICES", "2", 1);
  setenv("CUSIM_SEED", "77", 1);
  if (argument_count > 1 && strcmp(arguments[1], "own") == 0) return own();
  return run_listed_tests(NULL, NULL);
}
