package store

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Bytes of SQLite's index of the log. Each reading process locks one of them. See "WAL Locks" in
// https://www.sqlite.org/walformat.html. Each process that has the database open locks the byte after them.
const firstReadLock, lastReadLock = 123, 127

// logReaders returns the processes that read the log, from the kernel's list of locks. The list includes processes of
// other users, but none outside the container.
func logReaders(index fileID) (readers []string) {
	file, err := os.Open("/proc/locks")
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	seen := make(map[int]bool)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// 1: POSIX  ADVISORY  READ 1234 fe:00:770204 124 124
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 || fields[3] != "READ" {
			continue
		}
		pid, err := strconv.Atoi(fields[4])
		inode := fields[5][strings.LastIndexByte(fields[5], ':')+1:]
		if err != nil || pid <= 0 || seen[pid] || inode != strconv.FormatUint(index.inode, 10) {
			continue
		}
		first, err := strconv.ParseInt(fields[6], 10, 64)
		if err != nil || first > lastReadLock {
			continue
		}
		if last, err := strconv.ParseInt(fields[7], 10, 64); err == nil && last < firstReadLock {
			continue
		}
		seen[pid] = true
		readers = append(readers, nameProcess(pid))
	}
	return readers
}

func nameProcess(pid int) string {
	if pid == os.Getpid() {
		return fmt.Sprintf("this process, %d", pid)
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(name)))
}
