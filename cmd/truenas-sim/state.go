package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"virtrigaud-provider-truenas/truenas/sim"
)

// stateFile is the path of the file with the state of the NAS. Empty: no file.
type stateFile string

// restore reads the file if it exists.
func (s stateFile) restore(nas *sim.Sim) error {
	if s == "" {
		return nil
	}
	f, err := os.Open(string(s))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	if err := nas.Load(f); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

// save replaces the file atomically, so that it never contains a partial state.
func (s stateFile) save(nas *sim.Sim) error {
	if s == "" {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(string(s)), filepath.Base(string(s))+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // does nothing after the rename
	if err := errors.Join(nas.Save(f), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return os.Rename(f.Name(), string(s))
}

// serve waits until ctx is done, and saves on SIGUSR1.
func (s stateFile) serve(ctx context.Context, nas *sim.Sim, log io.Writer) {
	wanted := make(chan os.Signal, 1)
	signal.Notify(wanted, syscall.SIGUSR1)
	defer signal.Stop(wanted)
	for {
		select {
		case <-ctx.Done():
			return
		case <-wanted:
			if err := s.save(nas); err != nil {
				fmt.Fprintf(log, "truenas-sim: saving the state: %v\n", err)
			}
		}
	}
}
