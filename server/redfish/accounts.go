package redfish

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// maxAccountsFile is the maximum size of the file of accounts, in bytes.
const maxAccountsFile = 1 << 20

// recheck is the interval of the checks for a changed file of accounts.
const recheck = 2 * time.Second

// accounts are the accounts of a file. A changed file takes effect without a restart; an unusable one leaves the previous accounts
// in effect.
type accounts struct {
	path string
	log  *zap.Logger
	now  func() time.Time

	mu      sync.Mutex
	list    []Account
	text    []byte
	checked time.Time
	failed  string // the last failure, which is logged once
}

// openAccounts reads the file for the first time. A mistake in it is an error.
func openAccounts(path string, log *zap.Logger, now func() time.Time) (*accounts, error) {
	a := &accounts{path: path, log: log, now: now}
	if err := a.read(); err != nil {
		return nil, err
	}
	a.checked = now()
	return a, nil
}

func (a *accounts) read() error {
	info, err := os.Stat(a.path)
	switch {
	case err != nil:
		return fmt.Errorf("accounts: %w", err)
	case info.Size() > maxAccountsFile:
		return fmt.Errorf("accounts: %s has %d bytes; at most %d are allowed", a.path, info.Size(), maxAccountsFile)
	}
	text, err := os.ReadFile(a.path)
	if err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	if a.text != nil && bytes.Equal(text, a.text) {
		return nil
	}
	list, err := ParseAccounts(text)
	if err != nil {
		return fmt.Errorf("%s: %w", a.path, err)
	}
	a.list, a.text = list, text
	return nil
}

// all returns the accounts.
func (a *accounts) all() []Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now().Sub(a.checked) < recheck {
		return a.list
	}
	a.checked = a.now()
	err := a.read()
	switch {
	case err == nil:
		a.failed = ""
	case err.Error() != a.failed:
		a.failed = err.Error()
		a.log.Warn("invalid accounts file: keeping the previous accounts", zap.Error(err))
	}
	return a.list
}

// named returns the account of that name.
func (a *accounts) named(name string) (Account, bool) {
	list := a.all()
	i := slices.IndexFunc(list, func(one Account) bool { return one.Name == name })
	if i < 0 {
		return Account{}, false
	}
	return list[i], true
}
