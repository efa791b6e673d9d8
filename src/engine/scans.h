// The sources that an engine's runs read, and the cache of decoded columns that they share.
//
// A source's task is done from the cache alone where that has all it needs; else a worker decodes
// what is missing, and whoever wants some of the same meanwhile waits for it. On the loop's thread;
// looking at files, checking what workers send and joining tables happens on its lanes. It ends no
// worker; nothing of what it was told to do is called back after End.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "decache/cache.h"
#include "decache/claims.h"
#include "engine/event_loop.h"
#include "engine/scan.h"
#include "resource/ledger.h"

namespace zerrow::engine {

class Scans {
 public:
  struct Options {
    decache::Cache::Limits limits;
    /// The cache keeps a segment of the store, or does no more.
    std::function<void(const resource::SegmentBytes&)> on_cached;
    std::function<void(SegmentId)> on_uncached;
  };
  struct Handlers {
    /// The files must be read: `Describe` the task to a worker, pass on what that sends, and
    /// Finish.
    std::function<void(const Scan&)> on_missing;
    /// The source's table, whose segments are in the store, or why there is none. The cache has
    /// its part.
    std::function<void(arrow::Result<TablePtr>)> on_table;
  };
  /// `loop` and `store` outlive it.
  Scans(EventLoop& loop, shm::SegmentStore& store, Options options);
  ~Scans();

  /// Begins to read a source for the task; one of the handlers follows, later.
  void Begin(resource::TaskId task, std::shared_ptr<Scan> scan, Handlers handlers);
  /// The task's worker sent columns.
  void OnDecoded(resource::TaskId task, base::Message decoded);
  /// It has answered and is gone; on_table follows.
  void Finish(resource::TaskId task, nlohmann::json answer);
  /// The task has failed or was stopped: its handlers aren't called any more.
  void End(resource::TaskId task);

  std::vector<decache::Listed> List() const { return cache_.List(); }
  int64_t cached_bytes() const { return cache_.bytes(); }
  /// The cache forgets the segment, which is wanted elsewhere; on_uncached follows at once if it
  /// had it.
  void Uncache(SegmentId segment);
  /// Of columns that workers have decoded for tasks that aren't done yet.
  int64_t DecodedBytes() const;
  int64_t DecodedBytes(resource::TaskId task) const;
  /// Forgets all; segments that are in use stay until they aren't.
  void Clear();
  /// Forgets what is worth least until `bytes` less are kept.
  void Shrink(int64_t bytes);

 private:
  struct Active;

  Active* Find(resource::TaskId task, decache::ScanId id);
  void LookAtFiles(resource::TaskId task);
  void Proceed(resource::TaskId task);
  void Assemble(resource::TaskId task, std::function<arrow::Status(Scan&)> first);
  void Conclude(resource::TaskId task, arrow::Result<Publication> published);
  void Store(const std::shared_ptr<const shm::Segment>& segment);
  std::vector<SegmentId> Keep(Scan::Learned learned);
  void Forget(const std::vector<SegmentId>& segments);
  void Release(decache::ScanId id);

  EventLoop& loop_;
  shm::SegmentStore& store_;
  const Options options_;
  decache::Cache cache_;
  decache::Claims claims_;
  std::map<resource::TaskId, std::unique_ptr<Active>> active_;
  decache::ScanId next_id_ = 1;
};

}  // namespace zerrow::engine
