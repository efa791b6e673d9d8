// The file that outlives engines: what attempts took, in a SQLite database.
//
// One thread at a time, and each call may wait for the disk or for another engine, though never
// longer than its patience. Any number of processes may have the same file open; SQLite's locks and
// its rollback journal keep it whole, also when one of them is killed while it writes. (Its
// write-ahead log would need memory that is mapped from a file, in which a full disk, or whoever
// shortens that file, kills its readers.) The file is trusted with nothing: values out of bounds
// are left out, and a query that doesn't end is ended.
#pragma once

#include <arrow/result.h>
#include <arrow/status.h>
#include <sqlite3.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/observations.h"

namespace zerrow::engine {

/// What stands for a task's code and settings.
using CodeKey = std::array<uint64_t, 2>;

class HistoryStore {
 public:
  struct Row {
    CodeKey key{};
    Observation seen;
  };
  static constexpr int kMostRows = 1 << 15;
  static constexpr int kMostVarying = 1 << 12;

  /// Opens the file, and makes it and its folder where they aren't there: for its user alone.
  /// Once `stopping` is true, which it may become at any time, there is little patience left.
  /// Invalid: it, or the folder, belongs to somebody else, or it is another program's or a later
  /// version's; SerializationError: it is broken; Cancelled: another engine has it locked;
  /// IOError.
  static arrow::Result<std::unique_ptr<HistoryStore>> Open(const std::string& path,
                                                           const std::atomic<bool>& stopping);
  /// Puts a broken file aside, under a name of its own.
  static void SetAside(const std::string& path);

  /// All rows, oldest first. Errors as Open.
  arrow::Result<std::vector<Row>> Load();
  /// Adds rows, the newest last, and removes the oldest beyond the bounds: all of it or nothing.
  /// Errors as Open.
  arrow::Status Write(const std::vector<Row>& rows);
  /// Code that isn't deterministic though it says so, of what was written last. Errors as Open.
  arrow::Result<std::vector<CodeKey>> LoadVarying();
  /// Adds some, and removes the oldest beyond the bound. Errors as Open.
  arrow::Status WriteVarying(const std::vector<CodeKey>& keys);
  /// Another connection has written since the last Load, or there was none.
  bool HasChanged();

 private:
  struct CloseDatabase {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };
  class Statement;
  explicit HistoryStore(const std::atomic<bool>& stopping) : stopping_(stopping) {}
  arrow::Status Connect(const std::string& path);
  arrow::Status Prepare();
  /// Invalid: it is none of ours.
  arrow::Result<bool> IsPrepared();
  arrow::Status InTransaction(const std::function<arrow::Status()>& change);
  arrow::Status WriteRows(const std::vector<Row>& rows);
  arrow::Status WriteKeys(const std::vector<CodeKey>& keys);
  arrow::Status Execute(const std::string& sql);
  arrow::Result<int64_t> Ask(const char* sql);
  arrow::Result<Statement> Compile(const char* sql);
  arrow::Status ErrorOf(int code) const;
  void BeginCall() { began_ = std::chrono::steady_clock::now(); }
  static int IsEnough(void* store);

  const std::atomic<bool>& stopping_;
  std::chrono::steady_clock::time_point began_;
  int64_t loaded_version_ = -1;
  std::unique_ptr<sqlite3, CloseDatabase> database_;
};

}  // namespace zerrow::engine
