// Grants chunks to workers while they run, over one socket each, on a thread of its own.
//
// The peers are untrusted: a malformed request ends that worker's conversation, never the broker,
// and nothing is allocated by a size that a worker claims (a chunk has no memory behind it until
// it is touched). Each wakeup serves one request of a worker, so that a flood delays others by one
// request at a time. All methods from any thread; none waits for memory to be freed. The broker
// owns what it has granted until TakeWorker; the destructor gives all of that back to the pool, so
// workers must be dead by then.
#pragma once

#include <arrow/result.h>

#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/task_thread.h"
#include "shm/chunk_pool.h"
#include "shm/segment.h"

namespace zerrow::shm {

/// A chunk that a worker could write to, under the id that it knows it by.
struct GrantedChunk {
  SegmentId id = 0;
  Chunk chunk;
};

struct BrokerOptions {
  int64_t worker_limit_bytes = 0;   // of one worker's chunks together; 0: none
  int64_t worker_limit_chunks = 0;  // 0: none; of an engine, what half of its descriptors allow
};

class ChunkBroker {
 public:
  /// IOError.
  static arrow::Result<std::unique_ptr<ChunkBroker>> Make(std::shared_ptr<ChunkPool> pool,
                                                          std::shared_ptr<SegmentIds> ids,
                                                          base::TaskThread::Handle reaper,
                                                          BrokerOptions options = {});
  ~ChunkBroker();

  /// Starts to serve a worker; returns its end of the socket. Invalid: it is served already.
  arrow::Result<base::UniqueFd> AddWorker(uint64_t worker_id);

  /// Stops serving a worker and returns what it holds, by ascending id; nothing if it is unknown.
  std::vector<GrantedChunk> TakeWorker(uint64_t worker_id);

  /// Memory behind what a worker holds now; 0 if it is unknown. So that it can be asked for often,
  /// a call looks at some tens of its chunks and remembers the others: exact for as many.
  int64_t BackedBytes(uint64_t worker_id);

 private:
  struct Worker;
  ChunkBroker(std::shared_ptr<ChunkPool> pool, std::shared_ptr<SegmentIds> ids,
              base::TaskThread::Handle reaper, BrokerOptions options);
  void Serve();
  void ServeOne(uint64_t worker_id);
  // Of the broker's thread, without mutex_. False: the conversation is over.
  bool Grant(Worker& worker, uint64_t asked_bytes);
  bool Release(Worker& worker, SegmentId id);
  // With mutex_ held.
  bool Reserve(Worker& worker, uint64_t asked_bytes, int64_t* size_bytes) const;
  void Hangup(Worker& worker);

  const std::shared_ptr<ChunkPool> pool_;
  const std::shared_ptr<SegmentIds> ids_;
  const base::TaskThread::Handle reaper_;
  const BrokerOptions options_;
  const int64_t largest_bytes_;  // a larger chunk can't be backed anyway
  base::UniqueFd epoll_;
  base::UniqueFd stop_;  // an eventfd
  // Guards workers_ and what is in them. Held for looking up and for sending, which never waits:
  // chunks are made, reclaimed and freed without it.
  std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Worker>> workers_;
  std::thread thread_;
};

}  // namespace zerrow::shm
