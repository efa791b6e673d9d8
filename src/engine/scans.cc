#include "engine/scans.h"

#include <algorithm>
#include <utility>

#include "base/exceptions.h"

namespace zerrow::engine {

using arrow::Status;
using resource::TaskId;

struct Scans::Active {
  decache::ScanId id = 0;
  std::shared_ptr<Scan> scan;
  Handlers handlers;
  // Of what the worker has sent; written and read on the lane.
  std::shared_ptr<Status> decoded = std::make_shared<Status>();
};

Scans::Scans(EventLoop& loop, shm::SegmentStore& store, Options options)
    : loop_(loop), store_(store), options_(std::move(options)), cache_(options_.limits) {}

Scans::~Scans() = default;

Scans::Active* Scans::Find(TaskId task, decache::ScanId id) {
  const auto found = active_.find(task);
  return found == active_.end() || found->second->id != id ? nullptr : found->second.get();
}

void Scans::Begin(TaskId task, std::shared_ptr<Scan> scan, Handlers handlers) {
  auto active = std::make_unique<Active>();
  active->id = next_id_++;
  active->scan = std::move(scan);
  active->handlers = std::move(handlers);
  active_[task] = std::move(active);
  LookAtFiles(task);
}

void Scans::LookAtFiles(TaskId task) {
  struct Job {
    std::shared_ptr<Scan> scan;
    arrow::Result<std::vector<IdentifiedFile>> files = Status::UnknownError("not looked at");
  };
  auto job = std::make_shared<Job>(Job{active_.at(task)->scan});
  const decache::ScanId id = active_.at(task)->id;
  loop_.Post(
      EventLoop::Lane::kText, [job] { job->files = Identify(job->scan->source().files); },
      [this, task, id, job] {
        Active* waiting = Find(task, id);
        if (waiting == nullptr) return;
        if (!job->files.ok()) return Conclude(task, job->files.status());
        for (const IdentifiedFile& file : *job->files) Forget(cache_.Supersede(file.identity));
        waiting->scan->SetFiles(*std::move(job->files));
        Proceed(task);
      });
}

// From the cache, by a worker, or later.
void Scans::Proceed(TaskId task) {
  Active& active = *active_.at(task);
  if (active.scan->TakeFromCache(cache_, store_)) {
    return Assemble(task, [](Scan&) { return Status::OK(); });
  }
  if (!active.scan->keeps() || claims_.Claim(active.id, active.scan->Columns())) {
    active.handlers.on_missing(*active.scan);
  }
}

void Scans::OnDecoded(TaskId task, base::Message decoded) {
  const auto found = active_.find(task);
  if (found == active_.end()) return;
  struct Job {
    std::shared_ptr<Scan> scan;
    base::Message decoded;
    std::shared_ptr<Status> status;
  };
  auto job =
      std::make_shared<Job>(Job{found->second->scan, std::move(decoded), found->second->decoded});
  loop_.Post(
      EventLoop::Lane::kMemory,
      [this, job] {
        if (!job->status->ok()) return;
        *job->status = base::CatchExceptions([&] {
          return job->scan->TakeDecoded(std::move(job->decoded), *store_.ids(), store_.reaper());
        });
      },
      [] {});
}

void Scans::Finish(TaskId task, nlohmann::json answer) {
  auto held = std::make_shared<nlohmann::json>(std::move(answer));
  Assemble(task, [held, decoded = active_.at(task)->decoded](Scan& scan) {
    return decoded->ok() ? scan.TakeAnswer(*held) : *decoded;
  });
}

void Scans::Assemble(TaskId task, std::function<Status(Scan&)> first) {
  struct Job {
    std::shared_ptr<Scan> scan;
    std::function<Status(Scan&)> first;
    arrow::Result<Publication> published = Status::UnknownError("not joined");
  };
  const Active& active = *active_.at(task);
  auto job = std::make_shared<Job>(Job{active.scan, std::move(first)});
  loop_.Post(
      EventLoop::Lane::kMemory,
      [this, job] {
        job->published = base::CatchExceptions([&]() -> arrow::Result<Publication> {
          ARROW_RETURN_NOT_OK(job->first(*job->scan));
          return job->scan->Assemble(*store_.ids(), store_.reaper());
        });
      },
      [this, task, id = active.id, job] {
        if (Find(task, id) != nullptr) Conclude(task, std::move(job->published));
      });
}

void Scans::Conclude(TaskId task, arrow::Result<Publication> published) {
  const std::unique_ptr<Active> active = std::move(active_.extract(task).mapped());
  if (!published.ok()) {
    active->handlers.on_table(published.status());
    return Release(active->id);
  }
  // Some may have been dropped meanwhile.
  for (const auto& segment : published->segments) Store(segment);
  const std::vector<SegmentId> dropped = Keep(active->scan->Learn(cache_));
  active->handlers.on_table(std::move(published->table));
  // Only now, as the table may have some of them.
  Forget(dropped);
  Release(active->id);
}

void Scans::Store(const std::shared_ptr<const shm::Segment>& segment) {
  if (store_.Find(segment->id()) == nullptr) store_.Add(segment);
}

// What must go for it.
std::vector<SegmentId> Scans::Keep(Scan::Learned learned) {
  std::vector<SegmentId> all_dropped;
  for (auto& [file, footer] : learned.footers) cache_.InsertFooter(file, std::move(footer));
  for (auto& [file, filter, blocks] : learned.kept) {
    cache_.InsertKept(file, filter, std::move(blocks));
  }
  for (const decache::EntryKey& key : learned.used) cache_.Use(key);
  for (const auto& [key, decode_s] : learned.charged) cache_.Charge(key, decode_s);
  for (auto& [key, entry, segment, grown_from] : learned.entries) {
    const resource::SegmentBytes bytes = {entry.segment, entry.bytes};
    std::vector<SegmentId> dropped = grown_from ? cache_.Replace(key, *grown_from, std::move(entry))
                                                : cache_.Insert(key, std::move(entry));
    const auto itself = std::ranges::find(dropped, bytes.id);
    if (itself == dropped.end()) {
      Store(segment);
      options_.on_cached(bytes);
    } else {
      dropped.erase(itself);
    }
    all_dropped.insert(all_dropped.end(), dropped.begin(), dropped.end());
  }
  return all_dropped;
}

void Scans::Forget(const std::vector<SegmentId>& segments) {
  for (const SegmentId segment : segments) options_.on_uncached(segment);
}

void Scans::End(TaskId task) {
  const auto active = active_.extract(task);
  if (!active.empty()) Release(active.mapped()->id);
}

void Scans::Release(decache::ScanId id) {
  for (const decache::ScanId waiting : claims_.Release(id)) {
    const auto found = std::ranges::find_if(
        active_, [&](const auto& entry) { return entry.second->id == waiting; });
    // Their files may have changed meanwhile.
    if (found != active_.end()) LookAtFiles(found->first);
  }
}

int64_t Scans::DecodedBytes() const {
  int64_t bytes = 0;
  for (const auto& [task, active] : active_) bytes += active->scan->decoded_bytes();
  return bytes;
}

int64_t Scans::DecodedBytes(TaskId task) const {
  const auto found = active_.find(task);
  return found == active_.end() ? 0 : found->second->scan->decoded_bytes();
}

void Scans::Uncache(SegmentId segment) {
  if (cache_.Remove(segment)) Forget({segment});
}

void Scans::Clear() { Forget(cache_.Clear()); }

void Scans::Shrink(int64_t bytes) {
  decache::Cache::Limits less = cache_.limits();
  less.bytes = std::max<int64_t>(cache_.bytes() - bytes, 0);
  Forget(cache_.Resize(less));
  Forget(cache_.Resize(options_.limits));
}

}  // namespace zerrow::engine
