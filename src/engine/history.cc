#include "engine/history.h"

#include <cstdlib>
#include <iterator>
#include <string_view>

#include "base/exceptions.h"
#include "base/no_fork.h"
#include "engine/state_folder.h"

namespace zerrow::engine {

using arrow::Status;

namespace {

// Where the file can't be written for a while.
constexpr size_t kMostUnwritten = 1 << 14;

}  // namespace

void History::Known::Add(const HistoryStore::Row& row) {
  const auto found = by_key_.find(row.key);
  if (found != by_key_.end()) {
    order_.splice(order_.end(), order_, found->second);
  } else {
    if (order_.size() >= kMostKeys) {
      by_key_.erase(order_.front().first);
      order_.pop_front();
    }
    order_.emplace_back(row.key, Observations());
    by_key_.emplace(row.key, std::prev(order_.end()));
  }
  order_.back().second.Add(row.seen);
}

const Observations* History::Known::Find(const CodeKey& key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &found->second->second;
}

std::string History::DefaultPath() {
  const std::string folder = StateFolder();
  return folder.empty() ? "" : folder + "/history.db";
}

bool History::IsWanted() {
  const char* set = std::getenv("ZERROW_HISTORY");
  const std::string_view value = set == nullptr ? "" : set;
  return value != "0" && value != "off";
}

History::History(std::string path) : path_(std::move(path)) { Refresh(); }

History::~History() {
  stopping_ = true;
  bool is_written = false;
  {
    std::lock_guard lock(mutex_);
    is_written = unwritten_.empty() && unwritten_varying_.empty();
  }
  if (!is_written) Refresh();
  thread_.Stop();
  const base::NoFork no_fork;
  store_.reset();
}

std::optional<Observation> History::Lookup(const CodeKey& key, int64_t input_bytes) const {
  std::lock_guard lock(mutex_);
  const Observations* known = known_.Find(key);
  return known == nullptr ? std::nullopt : known->Predict(input_bytes);
}

void History::Note(const CodeKey& key, const Observation& observation) {
  if (!observation.IsSane()) return;
  {
    std::lock_guard lock(mutex_);
    known_.Add({key, observation});
    if (path_.empty()) return;
    if (unwritten_.size() < kMostUnwritten) unwritten_.push_back({key, observation});
  }
  Refresh();
}

bool History::Varies(const CodeKey& key) const {
  std::lock_guard lock(mutex_);
  return varying_.contains(key);
}

void History::NoteVarying(const CodeKey& key) {
  {
    std::lock_guard lock(mutex_);
    if (varying_.size() >= HistoryStore::kMostVarying) varying_.erase(varying_.begin());
    if (!varying_.insert(key).second || path_.empty()) return;
    if (unwritten_varying_.size() < kMostUnwritten) unwritten_varying_.push_back(key);
  }
  Refresh();
}

void History::Refresh() {
  if (path_.empty()) return;
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(is_queued_, true)) return;
  }
  thread_.Post([this] { Sync(); });
}

void History::Flush() const {
  bool is_done = false;
  while (!is_done) {
    thread_.Flush();
    std::lock_guard lock(mutex_);
    is_done = !is_queued_ && !is_running_;  // one may queue the next
  }
}

std::string History::problem() const {
  std::lock_guard lock(mutex_);
  return problem_;
}

void History::Sync() {
  {
    std::lock_guard lock(mutex_);
    is_queued_ = false;
    is_running_ = true;
  }
  const Status done = base::CatchExceptions([this] {
    Exchange();
    return Status::OK();
  });
  if (!done.ok()) GiveUp(done);
  std::lock_guard lock(mutex_);
  is_running_ = false;
}

void History::Exchange() {
  const base::NoFork no_fork;
  // What can't be written is only in memory, where reading would put the file's in its place.
  if (given_up_ || !writes_) {
    std::lock_guard lock(mutex_);
    unwritten_.clear();
    unwritten_varying_.clear();
  } else if (Open() && Read()) {
    Write();
  }
}

bool History::Open() {
  if (store_ != nullptr) return true;
  auto opened = HistoryStore::Open(path_, stopping_);
  if (opened.ok()) {
    store_ = *std::move(opened);
  } else if (opened.status().IsCancelled()) {
    NoteProblem(opened.status());  // for now
  } else {
    GiveUp(opened.status());
  }
  return store_ != nullptr;
}

bool History::Read() {
  if (!store_->HasChanged()) return true;
  Known known;  // what was known before goes without the lock
  std::set<CodeKey> varying;
  if (!Load(known, varying)) return false;
  std::lock_guard lock(mutex_);
  for (const HistoryStore::Row& row : unwritten_) known.Add(row);
  varying.insert(unwritten_varying_.begin(), unwritten_varying_.end());
  std::swap(known_, known);
  std::swap(varying_, varying);
  return true;
}

bool History::Load(Known& known, std::set<CodeKey>& varying) {
  const auto rows = store_->Load();
  Status loaded = rows.status();
  if (loaded.ok()) {
    for (const HistoryStore::Row& row : *rows) known.Add(row);
    const auto keys = store_->LoadVarying();
    loaded = keys.status();
    if (loaded.ok()) varying.insert(keys->begin(), keys->end());
  }
  if (loaded.ok()) return true;
  loaded.IsCancelled() ? NoteProblem(loaded) : GiveUp(loaded);  // the first: for now
  return false;
}

void History::Write() {
  std::vector<HistoryStore::Row> rows;
  std::vector<CodeKey> varying;
  {
    std::lock_guard lock(mutex_);
    rows = unwritten_;
    varying = unwritten_varying_;
  }
  const auto drop_first = [](auto& all, size_t count) {
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
  };
  if (!rows.empty()) {
    if (!Settle(store_->Write(rows))) return;
    std::lock_guard lock(mutex_);
    drop_first(unwritten_, rows.size());
  }
  if (!varying.empty() && writes_ && Settle(store_->WriteVarying(varying))) {
    std::lock_guard lock(mutex_);
    drop_first(unwritten_varying_, varying.size());
  }
}

// Whether that is done with: written, or never will be.
bool History::Settle(const Status& written) {
  if (written.IsSerializationError()) return GiveUp(written), false;
  std::lock_guard lock(mutex_);
  if (!written.ok() && problem_.empty()) problem_ = path_ + ": " + written.message();
  if (written.IsCancelled()) return false;  // with the next ones
  writes_ = written.ok();
  return true;
}

// A broken file is begun anew, once; what else is wrong doesn't mend itself.
void History::GiveUp(const Status& why) {
  store_.reset();
  // Another engine may have begun it anew meanwhile: that one is looked at first.
  if (why.IsSerializationError() && ++found_broken_ <= 2) {
    if (found_broken_ == 2) {
      NoteProblem(why.WithMessage("it was broken and was set aside: ", why.message()));
      HistoryStore::SetAside(path_);
    }
    return Refresh();
  }
  given_up_ = true;
  NoteProblem(why);
}

void History::NoteProblem(const Status& why) {
  std::lock_guard lock(mutex_);
  if (problem_.empty()) problem_ = path_ + ": " + why.message();
}

}  // namespace zerrow::engine
