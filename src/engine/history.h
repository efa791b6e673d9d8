// What attempts of the same code took in earlier runs, of this engine and of others of its user,
// and which of it isn't deterministic though it says so.
//
// Lookup and Note only touch memory, so that an engine's loop may call them. A thread reads the
// file in the beginning and when another engine has written to it, and writes what was noted;
// whatever is wrong with the file is remembered and ends nothing: the History goes on in memory.
// Any thread. What was noted in the last moments before a crash is lost, the rest is whole.
#pragma once

#include <atomic>
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/task_thread.h"
#include "engine/history_store.h"
#include "engine/observations.h"

namespace zerrow::engine {

class History {
 public:
  /// Keys that are known at once; those that weren't noted for longest go.
  static constexpr size_t kMostKeys = 4096;

  /// $XDG_STATE_HOME/zerrow/history.db, or ~/.local/state/zerrow/history.db. Empty: there is no
  /// home folder.
  static std::string DefaultPath();
  /// Unless $ZERROW_HISTORY is 0 or off.
  static bool IsWanted();

  /// An empty path: nothing outlives this.
  explicit History(std::string path);
  /// Writes what was noted, if that is possible within a fraction of a second.
  ~History();

  std::optional<Observation> Lookup(const CodeKey& key, int64_t input_bytes) const;
  /// Nothing happens if the observation isn't sane.
  void Note(const CodeKey& key, const Observation& observation);
  /// Run again it has made another table of the same inputs.
  bool Varies(const CodeKey& key) const;
  void NoteVarying(const CodeKey& key);
  /// Other engines' news will be known soon. Worth it when a run begins.
  void Refresh();
  /// Waits until what was noted before is written, and what was there is known.
  void Flush() const;

  /// Why the file isn't read or written, once that is known; empty: it is.
  std::string problem() const;

 private:
  // In the order of their last notes, and by key.
  class Known {
   public:
    Known() = default;
    Known(Known&&) = default;  // a copy's places would be the original's
    Known& operator=(Known&&) = default;

    void Add(const HistoryStore::Row& row);
    const Observations* Find(const CodeKey& key) const;

   private:
    using Order = std::list<std::pair<CodeKey, Observations>>;
    Order order_;
    std::map<CodeKey, Order::iterator> by_key_;
  };

  void Sync();
  void Exchange();
  bool Read();
  bool Load(Known& known, std::set<CodeKey>& varying);
  void Write();
  bool Settle(const arrow::Status& written);
  bool Open();
  void GiveUp(const arrow::Status& why);
  void NoteProblem(const arrow::Status& why);

  const std::string path_;
  std::atomic<bool> stopping_{false};

  mutable std::mutex mutex_;  // of what follows
  Known known_;
  std::set<CodeKey> varying_;
  std::vector<HistoryStore::Row> unwritten_;
  std::vector<CodeKey> unwritten_varying_;
  std::string problem_;
  bool is_queued_ = false;   // a Sync
  bool is_running_ = false;  // another one

  // Of the thread.
  std::unique_ptr<HistoryStore> store_;
  bool given_up_ = false;
  bool writes_ = true;
  int found_broken_ = 0;
  base::TaskThread thread_;  // first to go
};

}  // namespace zerrow::engine
