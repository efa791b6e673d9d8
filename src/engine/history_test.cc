#include "engine/history.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace zerrow::engine {
namespace {

namespace fs = std::filesystem;

Observation Took(int64_t input, int64_t bytes) { return {input, bytes, bytes, 2 * bytes, 0.5}; }

// A child of a process with threads may start none of its own there.
#ifdef __SANITIZE_THREAD__
constexpr bool kChildrenHaveThreads = false;
#else
constexpr bool kChildrenHaveThreads = true;
#endif

// The allocator of address sanitizer isn't made ready for fork(): a child that is forked while
// another thread allocates may wait for it for ever.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kForksWhileOthersAllocate = false;
#else
constexpr bool kForksWhileOthersAllocate = true;
#endif

class HistoryTest : public ::testing::Test {
 public:
  ~HistoryTest() override { fs::remove_all(folder_); }

 protected:
  HistoryTest() {
    char folder[] = "/tmp/zerrow-history-XXXXXX";
    folder_ = ::mkdtemp(folder);
    path_ = folder_ + "/state/zerrow/history.db";
  }

  static std::optional<int64_t> TableOf(const History& history, CodeKey key, int64_t input = 100) {
    const auto known = history.Lookup(key, input);
    return known ? std::optional(known->table_bytes) : std::nullopt;
  }
  std::optional<int64_t> StoredTableOf(CodeKey key, int64_t input = 100) {
    History history(path_);
    history.Flush();
    EXPECT_EQ(history.problem(), "");
    return TableOf(history, key, input);
  }
  void Store(CodeKey key, int64_t bytes) {
    History history(path_);
    history.Note(key, Took(100, bytes));
  }
  void WriteFile(std::string_view text) {
    fs::create_directories(fs::path(path_).parent_path());
    std::ofstream(path_) << text;
  }
  // Of the file, as another program.
  void Execute(const std::string& sql) {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &database), SQLITE_OK);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, &error), SQLITE_OK) << error;
    sqlite3_close(database);
  }
  // The History goes on without its file, and says why.
  void ExpectProblem(std::string_view problem) {
    History history(path_);
    history.Flush();
    EXPECT_NE(history.problem().find(problem), std::string::npos) << history.problem();
    history.Note({1, 1}, Took(100, 77));
    history.Flush();
    EXPECT_EQ(TableOf(history, {1, 1}), 77);
  }
  // In a process of its own, which must end well: true from it.
  template <typename Function>
  static bool InProcess(Function function) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(function() ? 0 : 1);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

  std::string folder_;
  std::string path_;
};

TEST_F(HistoryTest, KnowsAtOnceWhatWasNoted) {
  History history("");
  EXPECT_EQ(TableOf(history, {1, 2}), std::nullopt);
  history.Note({1, 2}, Took(100, 50));
  EXPECT_EQ(TableOf(history, {1, 2}), 50);
  EXPECT_EQ(TableOf(history, {1, 2}, 200), 100);
  EXPECT_EQ(TableOf(history, {2, 1}), std::nullopt);
  history.Note({3, 3}, Took(-1, 50));
  EXPECT_EQ(TableOf(history, {3, 3}), std::nullopt);
}

TEST_F(HistoryTest, OutlivesItsEngineInAFileOfItsUserAlone) {
  ::umask(0);
  Store({1, 2}, 50);
  ::umask(022);
  const auto known = [&] {
    History history(path_);
    history.Flush();
    return history.Lookup({1, 2}, 100);
  }();
  ASSERT_TRUE(known);
  EXPECT_EQ(*known, Took(100, 50));
  struct stat found = {};
  ASSERT_EQ(::stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(fs::path(path_).parent_path().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0700u);
  fs::permissions(path_, fs::perms::all);
  EXPECT_EQ(StoredTableOf({1, 2}), 50);
  ::stat(path_.c_str(), &found);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
}

TEST_F(HistoryTest, HearsWhatAnotherEngineHasNoted) {
  History one(path_);
  History other(path_);
  one.Note({1, 1}, Took(100, 50));
  one.Flush();
  other.Refresh();
  other.Flush();
  EXPECT_EQ(TableOf(other, {1, 1}), 50);
  other.Note({2, 2}, Took(100, 60));
  other.Flush();
  one.Refresh();
  one.Flush();
  EXPECT_EQ(TableOf(one, {2, 2}), 60);
  EXPECT_EQ(one.problem() + other.problem(), "");
}

TEST_F(HistoryTest, WhatVariesIsRememberedToo) {
  {
    History history(path_);
    EXPECT_FALSE(history.Varies({1, 1}));
    history.NoteVarying({1, 1});
    history.NoteVarying({1, 1});
    EXPECT_TRUE(history.Varies({1, 1}));
  }
  History another(path_);
  another.Flush();
  EXPECT_TRUE(another.Varies({1, 1}));
  EXPECT_FALSE(another.Varies({1, 2}));
  // What one engine notes the other hears of.
  History third(path_);
  third.NoteVarying({1, 2});
  third.Flush();
  another.Refresh();
  another.Flush();
  EXPECT_TRUE(another.Varies({1, 2}));
  EXPECT_EQ(another.problem(), "");
}

TEST_F(HistoryTest, WhatVariesIsBounded) {
  std::atomic<bool> stopping = false;
  auto store = HistoryStore::Open(path_, stopping).ValueOrDie();
  std::vector<CodeKey> keys;
  for (uint64_t i = 0; i < HistoryStore::kMostVarying + 10; ++i) keys.push_back({3, i});
  ASSERT_TRUE(store->WriteVarying(keys).ok());
  // Once more is the newest.
  ASSERT_TRUE(store->WriteVarying({{3, 10}}).ok());
  const auto kept = store->LoadVarying().ValueOrDie();
  ASSERT_EQ(kept.size(), size_t{HistoryStore::kMostVarying});
  EXPECT_EQ(kept.front(), (CodeKey{3, 11}));
  EXPECT_EQ(kept.back(), (CodeKey{3, 10}));
  History history("");
  for (const CodeKey& key : keys) history.NoteVarying(key);
  EXPECT_TRUE(history.Varies(keys.back()));
}

TEST_F(HistoryTest, ManyProcessesWriteAtOnce) {
  if (!kChildrenHaveThreads) GTEST_SKIP() << "not under this sanitizer";
  constexpr uint64_t kProcesses = 6;
  constexpr uint64_t kNotes = 300;
  std::vector<pid_t> children;
  for (uint64_t process = 0; process < kProcesses; ++process) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    bool is_fine = true;
    {
      History history(path_);
      for (uint64_t i = 0; i < kNotes; ++i) {
        history.Note({process, i}, Took(100, static_cast<int64_t>(1 + i)));
        if (i % 10 == 0) history.Flush();
      }
      history.Flush();
      is_fine = history.problem().empty();
    }
    ::_exit(is_fine ? 0 : 1);
  }
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  History history(path_);
  history.Flush();
  for (uint64_t process = 0; process < kProcesses; ++process) {
    for (uint64_t i = 0; i < kNotes; ++i) {
      ASSERT_EQ(TableOf(history, {process, i}), static_cast<int64_t>(1 + i)) << process << " " << i;
    }
  }
}

TEST_F(HistoryTest, IsWholeWhoeverIsKilledWhileWriting) {
  if (!kChildrenHaveThreads) GTEST_SKIP() << "not under this sanitizer";
  std::mt19937 random(1);
  for (uint64_t round = 0; round < 20; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      History history(path_);
      for (uint64_t i = 0;; ++i) {
        history.Note({round, i % 50}, Took(100, 5));
        history.Flush();
      }
    }
    ::usleep(1000 * (5 + random() % 40));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    History history(path_);
    history.Note({99, round}, Took(100, 7));
    history.Flush();
    EXPECT_EQ(history.problem(), "");
    for (uint64_t i = 0; i <= round; ++i) EXPECT_EQ(TableOf(history, {99, i}), 7);
  }
  EXPECT_FALSE(fs::exists(path_ + ".broken"));
}

TEST_F(HistoryTest, AProcessForkedMeanwhileHasOneOfItsOwn) {
  if (!kChildrenHaveThreads || !kForksWhileOthersAllocate) {
    GTEST_SKIP() << "not under this sanitizer";
  }
  History history(path_);
  for (uint64_t round = 0; round < 100; ++round) {
    history.Note({1, round}, Took(100, 5));  // is being written from now on
    EXPECT_TRUE(InProcess([&] {
      ::alarm(30);
      History forked(path_);
      forked.Note({2, round}, Took(100, 7));
      forked.Flush();
      return forked.problem().empty();
    })) << round;
  }
  history.Refresh();
  history.Flush();
  EXPECT_EQ(history.problem(), "");
  for (uint64_t round = 0; round < 100; ++round) EXPECT_EQ(TableOf(history, {2, round}), 7);
}

TEST_F(HistoryTest, WhatIsBrokenIsSetAsideAndBegunAnew) {
  WriteFile(std::string(5000, 'x'));
  ExpectProblem("it was broken and was set aside");
  EXPECT_TRUE(fs::exists(path_ + ".broken"));
  EXPECT_EQ(StoredTableOf({1, 1}), 77);
}

TEST_F(HistoryTest, BrokenBytesAnywhereEndNothing) {
  {
    History history(path_);
    for (uint64_t i = 0; i < 500; ++i) history.Note({i, i}, Took(100, 5));
  }
  std::ifstream file(path_, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(file)), {});
  ASSERT_GT(whole.size(), 20'000u);
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    std::string broken = whole;
    for (int i = 0; i < 40; ++i) broken[random() % broken.size()] = static_cast<char>(random());
    if (round % 3 == 0) broken.resize(random() % broken.size());
    if (round % 2 == 0) broken.replace(0, 100, whole, 0, std::min<size_t>(100, broken.size()));
    WriteFile(broken);
    History history(path_);
    history.Flush();
    for (uint64_t i = 0; i < 500; ++i) {
      EXPECT_TRUE(history.Lookup({i, i}, 1'000'000).value_or(Observation()).IsSane());
    }
    history.Note({7000, 1}, Took(100, 9));
    EXPECT_EQ(TableOf(history, {7000, 1}), 9);
  }
}

TEST_F(HistoryTest, TablesThatAreNotOursAreSetAsideEvenIfTheirQueryNeverEnds) {
  Store({1, 1}, 50);
  Execute(
      "DROP TABLE observation; CREATE VIEW observation AS WITH RECURSIVE n(key) AS (SELECT 1"
      " UNION ALL SELECT key + 1 FROM n) SELECT key, 1 AS seq, 1 AS input_bytes,"
      " 1 AS table_bytes, 1 AS new_bytes, 1 AS peak_bytes, 1.0 AS run_s FROM n");
  ExpectProblem("it was broken and was set aside");
  EXPECT_EQ(StoredTableOf({1, 1}), 77);
}

TEST_F(HistoryTest, ValuesThatCannotBeAreLeftOut) {
  Store({1, 1}, 50);
  Execute("UPDATE observation SET table_bytes = -1");
  EXPECT_EQ(StoredTableOf({1, 1}), std::nullopt);
  Execute("UPDATE observation SET table_bytes = 'much', key = 'x'");
  EXPECT_EQ(StoredTableOf({1, 1}), std::nullopt);
}

TEST_F(HistoryTest, AnotherProgramsDatabaseIsLeftAlone) {
  fs::create_directories(fs::path(path_).parent_path());
  Execute("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (3)");
  ExpectProblem("it is another program's database");
  Execute("SELECT a FROM theirs");
}

TEST_F(HistoryTest, ALaterVersionsIsLeftAloneAnEarlierOnesBegunAnew) {
  Store({1, 1}, 50);
  Execute("PRAGMA user_version = 4");
  ExpectProblem("a later version of Zerrow has made it");
  Execute("PRAGMA user_version = 2");
  EXPECT_EQ(StoredTableOf({1, 1}), std::nullopt);
  Store({1, 1}, 50);
  EXPECT_EQ(StoredTableOf({1, 1}), 50);
}

TEST_F(HistoryTest, OneThatIsLockedIsWaitedForButNotForLong) {
  Store({1, 1}, 50);
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  {
    History history(path_);
    history.Note({2, 2}, Took(100, 60));
    history.Flush();
    EXPECT_NE(history.problem().find("another engine has it locked"), std::string::npos);
    EXPECT_EQ(TableOf(history, {2, 2}), 60);
    sqlite3_exec(database, "COMMIT", nullptr, nullptr, nullptr);
    history.Refresh();
    history.Flush();
    EXPECT_EQ(TableOf(history, {1, 1}), 50) << "it is read as soon as that is possible";
  }
  sqlite3_close(database);
  EXPECT_EQ(StoredTableOf({2, 2}), 60) << "and written";
}

TEST_F(HistoryTest, AFullDiskKeepsWhatWasThere) {
  if (!kChildrenHaveThreads) GTEST_SKIP() << "not under this sanitizer";
  Store({1, 1}, 50);
  const bool is_fine = InProcess([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {fs::file_size(path_), RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    History history(path_);
    history.Flush();
    for (uint64_t i = 0; i < 1000; ++i) history.Note({5, i}, Took(100, 60));
    history.Flush();
    return !history.problem().empty() && TableOf(history, {5, 999}) == 60 &&
           TableOf(history, {1, 1}) == 50;
  });
  EXPECT_TRUE(is_fine);
  EXPECT_EQ(StoredTableOf({1, 1}), 50);
  EXPECT_EQ(StoredTableOf({5, 999}), std::nullopt);
}

TEST_F(HistoryTest, OneThatCannotBeWrittenIsRead) {
  if (!kChildrenHaveThreads) GTEST_SKIP() << "not under this sanitizer";
  Store({1, 1}, 50);
  fs::permissions(path_, fs::perms::owner_read);
  fs::permissions(folder_, fs::perms::all);
  const bool is_fine = InProcess([&] {
    if (::geteuid() == 0) {  // whom permissions don't stop
      constexpr uid_t kNobody = 65534;
      ::chown(path_.c_str(), kNobody, kNobody);
      ::chown(fs::path(path_).parent_path().c_str(), kNobody, kNobody);
      ::chmod(fs::path(path_).parent_path().parent_path().c_str(), 0755);
      if (::setresuid(kNobody, kNobody, kNobody) != 0) return false;
    }
    History history(path_);
    history.Note({2, 2}, Took(100, 60));
    history.Flush();
    return TableOf(history, {1, 1}) == 50 && TableOf(history, {2, 2}) == 60 &&
           history.problem().find("readonly") != std::string::npos;
  });
  EXPECT_TRUE(is_fine);
}

TEST_F(HistoryTest, WhatBelongsToAnotherUserIsLeftAlone) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_EQ(::chown(folder_.c_str(), 1234, 1234), 0);
  ExpectProblem(folder_ + " belongs to another user");
  EXPECT_FALSE(fs::exists(folder_ + "/state"));
  ASSERT_EQ(::chown(folder_.c_str(), 0, 0), 0);
  Store({1, 1}, 50);
  ASSERT_EQ(::chown(path_.c_str(), 1234, 1234), 0);
  ExpectProblem("belongs to another user");
}

TEST_F(HistoryTest, AFolderThatCannotBeMadeEndsNothing) {
  std::ofstream(folder_ + "/state") << "a file";
  ExpectProblem("Not a directory");
}

TEST_F(HistoryTest, WhatIsNoFileIsLeftAlone) {
  fs::create_directories(fs::path(path_).parent_path());
  fs::create_symlink("/dev/zero", path_);
  ExpectProblem("isn't a file");
  fs::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  ExpectProblem("isn't a file");
}

TEST_F(HistoryTest, TheFileIsBounded) {
  std::atomic<bool> stopping = false;
  std::vector<HistoryStore::Row> rows;
  for (int size = 0; size < 50; ++size) {
    for (int i = 0; i < 5; ++i) rows.push_back({{1, 1}, Took(int64_t{1} << size, 1 + size)});
  }
  auto store = HistoryStore::Open(path_, stopping).ValueOrDie();
  ASSERT_TRUE(store->Write(rows).ok());
  Observations as_in_memory;
  for (const auto& row : rows) as_in_memory.Add(row.seen);
  std::vector<Observation> loaded;
  for (const auto& row : store->Load().ValueOrDie()) loaded.push_back(row.seen);
  EXPECT_EQ(loaded, as_in_memory.all());

  rows.clear();
  constexpr uint64_t kAll = HistoryStore::kMostRows + 100;
  for (uint64_t i = 0; i < kAll; ++i) {
    rows.push_back({{2, i}, Took(1, 1)});
    // As one it would take longer than a slow build is given.
    if (rows.size() < 500 && i + 1 < kAll) continue;
    ASSERT_TRUE(store->Write(rows).ok());
    rows.clear();
  }
  const auto kept = store->Load().ValueOrDie();
  ASSERT_EQ(kept.size(), size_t{HistoryStore::kMostRows});
  EXPECT_EQ(kept.front().key, (CodeKey{2, 100})) << "the oldest went";
  EXPECT_EQ(kept.back().key, (CodeKey{2, kAll - 1}));
  EXPECT_LT(fs::file_size(path_), 16u << 20);
}

TEST_F(HistoryTest, MemoryIsBounded) {
  History history("");
  for (uint64_t i = 0; i <= History::kMostKeys; ++i) {
    history.Note({1, i}, Took(100, 5));
    history.Note({1, 0}, Took(100, 5));  // is noted all the time
  }
  EXPECT_EQ(TableOf(history, {1, 1}), std::nullopt);
  EXPECT_EQ(TableOf(history, {1, 0}), 5);
  EXPECT_EQ(TableOf(history, {1, 2}), 5);
}

TEST_F(HistoryTest, ItsPlaceFollowsTheEnvironment) {
  EXPECT_TRUE(InProcess([] {
    ::setenv("HOME", "/home/me", 1);
    ::setenv("XDG_STATE_HOME", "/state", 1);
    bool is_fine = History::DefaultPath() == "/state/zerrow/history.db";
    ::setenv("XDG_STATE_HOME", "relative", 1);
    is_fine &= History::DefaultPath() == "/home/me/.local/state/zerrow/history.db";
    ::unsetenv("XDG_STATE_HOME");
    is_fine &= History::DefaultPath() == "/home/me/.local/state/zerrow/history.db";
    ::unsetenv("HOME");
    is_fine &= History::DefaultPath().empty();
    ::unsetenv("ZERROW_HISTORY");
    is_fine &= History::IsWanted();
    for (const char* off : {"0", "off"}) {
      ::setenv("ZERROW_HISTORY", off, 1);
      is_fine &= !History::IsWanted();
    }
    return is_fine;
  }));
}

}  // namespace
}  // namespace zerrow::engine
