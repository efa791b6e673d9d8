#include "engine/history_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <utility>

#include "base/fd.h"
#include "engine/state_folder.h"

namespace zerrow::engine {

using arrow::Result;
using arrow::Status;

namespace {

// Of one call: a lock is held for milliseconds, unless its holder was stopped.
constexpr std::chrono::milliseconds kPatience{2000};
constexpr std::chrono::milliseconds kLastPatience{200};
constexpr std::chrono::milliseconds kNap{5};
constexpr int kOperationsBetweenLooks = 10'000;
constexpr int kApplicationId = 0x5a726f77;
constexpr int kVersion = 3;

constexpr char kSchema[] = R"(
DROP TABLE IF EXISTS observation;
CREATE TABLE observation (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  key BLOB NOT NULL,
  size INTEGER NOT NULL,
  input_bytes INTEGER NOT NULL,
  table_bytes INTEGER NOT NULL,
  new_bytes INTEGER NOT NULL,
  peak_bytes INTEGER NOT NULL,
  run_s REAL NOT NULL
);
CREATE INDEX observation_key ON observation (key, size, seq);
DROP TABLE IF EXISTS varying;
CREATE TABLE varying (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  key BLOB NOT NULL UNIQUE
);
)";

Status MakeFile(const std::string& path) {
  ARROW_RETURN_NOT_OK(MakeStateFolder(std::filesystem::path(path).parent_path()));
  struct stat found = {};
  if (::lstat(path.c_str(), &found) == 0) {
    if (!S_ISREG(found.st_mode)) return Status::Invalid(path, " isn't a file");
    ARROW_RETURN_NOT_OK(CheckOwner(path));
    // One that was copied here, perhaps.
    if ((found.st_mode & 077) != 0) ::chmod(path.c_str(), 0600);
    return Status::OK();
  }
  // Only one that is new may be closed: that lets go of all locks that this process has on a file.
  const base::UniqueFd made(::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
  return made.valid() || errno == EEXIST ? Status::OK() : base::ErrnoStatus(errno, path);
}

}  // namespace

class HistoryStore::Statement {
 public:
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  int Step() { return sqlite3_step(statement_.get()); }
  void Reset() { sqlite3_reset(statement_.get()); }
  void Bind(int place, int64_t value) { sqlite3_bind_int64(statement_.get(), place, value); }
  void Bind(int place, double value) { sqlite3_bind_double(statement_.get(), place, value); }
  void Bind(int place, const CodeKey& key) {
    sqlite3_bind_blob(statement_.get(), place, key.data(), sizeof(key), SQLITE_TRANSIENT);
  }
  int64_t Integer(int column) { return sqlite3_column_int64(statement_.get(), column); }
  double Real(int column) { return sqlite3_column_double(statement_.get(), column); }
  /// False: what is there is no key.
  bool Read(int column, CodeKey& key) {
    const void* bytes = sqlite3_column_blob(statement_.get(), column);
    if (bytes == nullptr || sqlite3_column_bytes(statement_.get(), column) != sizeof(key)) {
      return false;
    }
    std::memcpy(key.data(), bytes, sizeof(key));
    return true;
  }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

Result<std::unique_ptr<HistoryStore>> HistoryStore::Open(const std::string& path,
                                                         const std::atomic<bool>& stopping) {
  ARROW_RETURN_NOT_OK(MakeFile(path));
  std::unique_ptr<HistoryStore> store(new HistoryStore(stopping));
  ARROW_RETURN_NOT_OK(store->Connect(path));
  ARROW_RETURN_NOT_OK(store->Prepare());
  return store;
}

void HistoryStore::SetAside(const std::string& path) {
  ::rename(path.c_str(), (path + ".broken").c_str());
  ::unlink((path + "-journal").c_str());
}

Status HistoryStore::Connect(const std::string& path) {
  sqlite3* opened = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &opened,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  database_.reset(opened);  // there even if that failed, for the error
  if (code != SQLITE_OK) return ErrorOf(code);
  sqlite3_db_config(opened, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(opened, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(opened, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(opened, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  sqlite3_progress_handler(opened, kOperationsBetweenLooks, IsEnough, this);
  sqlite3_busy_handler(
      opened,
      [](void* store, int) {
        if (IsEnough(store) != 0) return 0;
        sqlite3_sleep(static_cast<int>(kNap.count()));
        return 1;
      },
      this);
  BeginCall();
  // What the power's loss leaves is worth no waiting for the disk: a broken file is set aside.
  return Execute("PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = OFF");
}

Status HistoryStore::Prepare() {
  BeginCall();
  ARROW_ASSIGN_OR_RAISE(const bool was_prepared, IsPrepared());
  if (was_prepared) return Status::OK();
  return InTransaction([this] {
    // Another engine may have done so meanwhile.
    ARROW_ASSIGN_OR_RAISE(const bool is_prepared, IsPrepared());
    if (is_prepared) return Status::OK();
    return Execute(fmt::format("{} PRAGMA application_id = {}; PRAGMA user_version = {}", kSchema,
                               kApplicationId, kVersion));
  });
}

Result<bool> HistoryStore::IsPrepared() {
  ARROW_ASSIGN_OR_RAISE(const int64_t id, Ask("PRAGMA application_id"));
  ARROW_ASSIGN_OR_RAISE(const int64_t version, Ask("PRAGMA user_version"));
  ARROW_ASSIGN_OR_RAISE(const int64_t tables, Ask("SELECT count(*) FROM sqlite_schema"));
  if (id != kApplicationId && (id != 0 || version != 0 || tables != 0)) {
    return Status::Invalid("it is another program's database");
  }
  if (version > kVersion) return Status::Invalid("a later version of Zerrow has made it");
  return id == kApplicationId && version == kVersion;
}

Status HistoryStore::InTransaction(const std::function<Status()>& change) {
  ARROW_RETURN_NOT_OK(Execute("BEGIN IMMEDIATE"));
  Status done = change();
  if (done.ok()) done = Execute("COMMIT");
  if (!done.ok()) sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  return done;
}

Result<std::vector<HistoryStore::Row>> HistoryStore::Load() {
  BeginCall();
  ARROW_ASSIGN_OR_RAISE(const int64_t version, Ask("PRAGMA data_version"));
  ARROW_ASSIGN_OR_RAISE(Statement rows,
                        Compile("SELECT key, input_bytes, table_bytes, new_bytes, peak_bytes, run_s"
                                " FROM observation ORDER BY seq DESC LIMIT ?"));
  rows.Bind(1, int64_t{kMostRows});
  std::vector<Row> loaded;
  int code = SQLITE_OK;
  while ((code = rows.Step()) == SQLITE_ROW) {
    Row row;
    if (!rows.Read(0, row.key)) continue;
    row.seen = {rows.Integer(1), rows.Integer(2), rows.Integer(3), rows.Integer(4), rows.Real(5)};
    if (row.seen.IsSane()) loaded.push_back(row);
  }
  if (code != SQLITE_DONE) return ErrorOf(code);
  loaded_version_ = version;
  return std::vector<Row>(loaded.rbegin(), loaded.rend());
}

Status HistoryStore::Write(const std::vector<Row>& rows) {
  BeginCall();
  return InTransaction([&] { return WriteRows(rows); });
}

Status HistoryStore::WriteRows(const std::vector<Row>& rows) {
  ARROW_ASSIGN_OR_RAISE(
      Statement insert,
      Compile("INSERT INTO observation"
              " (key, size, input_bytes, table_bytes, new_bytes, peak_bytes, run_s)"
              " VALUES (?, ?, ?, ?, ?, ?, ?)"));
  ARROW_ASSIGN_OR_RAISE(
      Statement of_size,
      Compile("DELETE FROM observation WHERE seq IN (SELECT seq FROM observation"
              " WHERE key = ? AND size = ? ORDER BY seq DESC LIMIT -1 OFFSET ?)"));
  ARROW_ASSIGN_OR_RAISE(Statement of_key,
                        Compile("DELETE FROM observation WHERE seq IN (SELECT seq FROM observation"
                                " WHERE key = ? ORDER BY seq DESC LIMIT -1 OFFSET ?)"));
  ARROW_ASSIGN_OR_RAISE(Statement of_all,
                        Compile("DELETE FROM observation WHERE seq IN (SELECT seq FROM observation"
                                " ORDER BY seq DESC LIMIT -1 OFFSET ?)"));
  const auto run = [this](Statement& statement) {
    const int code = statement.Step();
    statement.Reset();
    return code == SQLITE_DONE ? Status::OK() : ErrorOf(code);
  };
  for (const Row& row : rows) {
    const int64_t size = Observations::SizeOf(row.seen.input_bytes);
    insert.Bind(1, row.key);
    insert.Bind(2, size);
    insert.Bind(3, row.seen.input_bytes);
    insert.Bind(4, row.seen.table_bytes);
    insert.Bind(5, row.seen.new_bytes);
    insert.Bind(6, row.seen.peak_bytes);
    insert.Bind(7, row.seen.run_s);
    ARROW_RETURN_NOT_OK(run(insert));
    of_size.Bind(1, row.key);
    of_size.Bind(2, size);
    of_size.Bind(3, static_cast<int64_t>(Observations::kMostOfSize));
    ARROW_RETURN_NOT_OK(run(of_size));
    of_key.Bind(1, row.key);
    of_key.Bind(2, static_cast<int64_t>(Observations::kMost));
    ARROW_RETURN_NOT_OK(run(of_key));
  }
  of_all.Bind(1, int64_t{kMostRows});
  return run(of_all);
}

Result<std::vector<CodeKey>> HistoryStore::LoadVarying() {
  BeginCall();
  ARROW_ASSIGN_OR_RAISE(Statement rows, Compile("SELECT key FROM varying ORDER BY seq LIMIT ?"));
  rows.Bind(1, int64_t{kMostVarying});
  std::vector<CodeKey> keys;
  int code = SQLITE_OK;
  while ((code = rows.Step()) == SQLITE_ROW) {
    CodeKey key{};
    if (rows.Read(0, key)) keys.push_back(key);
  }
  return code == SQLITE_DONE ? Result<std::vector<CodeKey>>(std::move(keys)) : ErrorOf(code);
}

Status HistoryStore::WriteVarying(const std::vector<CodeKey>& keys) {
  BeginCall();
  return InTransaction([&] { return WriteKeys(keys); });
}

Status HistoryStore::WriteKeys(const std::vector<CodeKey>& keys) {
  ARROW_ASSIGN_OR_RAISE(Statement insert,
                        Compile("INSERT OR REPLACE INTO varying (key) VALUES (?)"));
  ARROW_ASSIGN_OR_RAISE(Statement oldest,
                        Compile("DELETE FROM varying WHERE seq IN (SELECT seq FROM varying"
                                " ORDER BY seq DESC LIMIT -1 OFFSET ?)"));
  for (const CodeKey& key : keys) {
    insert.Bind(1, key);
    const int code = insert.Step();
    insert.Reset();
    if (code != SQLITE_DONE) return ErrorOf(code);
  }
  oldest.Bind(1, int64_t{kMostVarying});
  const int code = oldest.Step();
  return code == SQLITE_DONE ? Status::OK() : ErrorOf(code);
}

bool HistoryStore::HasChanged() {
  BeginCall();
  // If it can't be asked, reading what may have changed says why.
  const int64_t version = Ask("PRAGMA data_version").ValueOr(-1);
  return version < 0 || version != loaded_version_;
}

Status HistoryStore::Execute(const std::string& sql) {
  const int code = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? Status::OK() : ErrorOf(code);
}

Result<int64_t> HistoryStore::Ask(const char* sql) {
  ARROW_ASSIGN_OR_RAISE(Statement question, Compile(sql));
  const int code = question.Step();
  if (code != SQLITE_ROW) return ErrorOf(code);
  return question.Integer(0);
}

Result<HistoryStore::Statement> HistoryStore::Compile(const char* sql) {
  sqlite3_stmt* compiled = nullptr;
  const int code = sqlite3_prepare_v2(database_.get(), sql, -1, &compiled, nullptr);
  if (code != SQLITE_OK) return ErrorOf(code);
  return Statement(compiled);
}

Status HistoryStore::ErrorOf(int code) const {
  const char* why = database_ ? sqlite3_errmsg(database_.get()) : sqlite3_errstr(code);
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Status::Cancelled("another engine has it locked");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR:  // our tables aren't what we had made
      return Status::SerializationError(why);
    case SQLITE_INTERRUPT:
      return Status::IOError("it took too long");
    default:
      return Status::IOError(why);
  }
}

int HistoryStore::IsEnough(void* store) {
  const auto& self = *static_cast<const HistoryStore*>(store);
  const auto patience = self.stopping_ ? kLastPatience : kPatience;
  return std::chrono::steady_clock::now() - self.began_ > patience ? 1 : 0;
}

}  // namespace zerrow::engine
