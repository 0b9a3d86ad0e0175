package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/background"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// taskClone is the prefix of the ids of tasks of full clones: clone/<the clone's id>.
const taskClone = "clone"

// cloneWithin is how long Clone waits for a full clone before it returns a task. The manager polls a task every ten seconds,
// and its timeout for Clone is five minutes.
const cloneWithin = 5 * time.Second

// cloneTimeout bounds how long one attempt waits for copies. They continue on the NAS, and the next poll of the task waits for
// them again.
const cloneTimeout = 24 * time.Hour

// copying is a full clone in progress in this process.
type copying struct {
	source string             // the id of the source VM
	done   map[string]float64 // percent copied of each disk, by its volume
}

// String returns the progress for users.
func (c copying) String() string {
	var parts []string
	for volume, percent := range c.done {
		parts = append(parts, fmt.Sprintf("%s %.0f %%", baseName(volume), percent))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// answerCopy makes a full clone in the background. It returns when the clone is complete, or returns a task after cloneWithin.
// Once the record of the clone is on the NAS, every replica can continue the clone for its task, so that the task and not
// Clone reports a temporary failure.
func (s *Server) answerCopy(ctx context.Context, c *cloning) (*providerv1.CloneResponse, error) {
	id := c.id()
	w := s.copy(id, c.source.UUID, func(context.Context) (*cloning, error) { return c, nil })
	if w == nil {
		return nil, refusal.Aborted("the provider is shutting down; retry")
	}
	if about, running := s.clones.Get(id); running && about.source != c.source.UUID {
		return nil, refusal.FailedPrecondition("target_name: VM %q is a clone in progress of another VM, %s", c.want.Name, about.source)
	}
	soon := time.NewTimer(s.cfg.CloneWithin)
	defer soon.Stop()
	select {
	case <-w.Done:
	case <-soon.C:
		select {
		case <-w.Done:
		case <-w.Begun:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	resp := &providerv1.CloneResponse{TargetVmId: id, Task: &providerv1.TaskRef{Id: taskClone + "/" + id}}
	select {
	case <-w.Done:
	default:
		return resp, nil
	}
	switch {
	case w.Err == nil:
		resp.Task = nil
	case !isRetryable(w.Err) || !c.isRecorded(ctx, w):
		return nil, w.Err
	}
	return resp, nil
}

// isRecorded reports whether the NAS has a record of the clone, from which any replica can continue it.
func (c *cloning) isRecorded(ctx context.Context, w *background.Work[copying]) bool {
	select {
	case <-w.Begun:
		return true
	default:
	}
	vm, err := c.s.current(ctx, c.id())
	m, _ := c.s.marks.Of(vm)
	return err == nil && m.Source == c.source.UUID
}

// copy makes a full clone in the background, unless one is in progress.
func (s *Server) copy(id, source string, which func(context.Context) (*cloning, error)) *background.Work[copying] {
	about := copying{source: source, done: map[string]float64{}}
	return s.clones.Start(id, about, func(ctx context.Context, w *background.Work[copying]) error {
		ctx, cancel := context.WithTimeout(ctx, cloneTimeout)
		defer cancel()
		ctx, traced := s.cfg.Hooks.Trace(ctx, "full clone")
		log := s.log.With(zap.String("vm", id), zap.String("source", source))
		c, err := which(ctx)
		if err == nil {
			log = log.With(zap.String("name", c.want.Name))
			log.Info("cloning VM")
			c.work = w
			err = c.run(ctx)
		}
		traced(err)
		switch {
		case err == nil:
			log.Info("clone complete")
		case s.ctx.Err() != nil: // The process ends; the next one continues the copy.
		case isRetryable(err):
			log.Warn("clone interrupted; the next poll of its task resumes it", zap.Error(err))
		default:
			log.Error("clone failed", zap.Error(err))
		}
		return err
	})
}

// logStep is the progress of a disk's copy, in percent, between two log lines.
const logStep = 10

// progress returns a function that records the progress of a disk's copy.
func (c *cloning) progress(volume string) func(truenas.Progress) {
	next := float64(logStep)
	return func(now truenas.Progress) {
		c.s.clones.Note(c.work, func(about *copying) {
			about.done = maps.Clone(about.done) // Readers may still use the old map.
			about.done[volume] = now.Percent
		})
		if now.Percent >= next {
			next = (math.Floor(now.Percent/logStep) + 1) * logStep
			c.s.log.Info("copying disk", zap.String("volume", volume), zap.Float64("percent", now.Percent), zap.String("progress", now.Description))
		}
	}
}

// cloneTask reports whether a clone's task is done, and its failure. The record of an unfinished clone on the NAS describes
// the clone, so that any process can resume an interrupted one.
func (s *Server) cloneTask(ctx context.Context, id string) (done bool, failed, err error) {
	if _, malformed := canonicalID(id); malformed != nil {
		return true, nil, nil // The task belongs to another provider.
	}
	running, failed := s.clones.Peek(id)
	if running {
		return false, nil, nil
	}
	vm, err := s.current(ctx, id)
	switch {
	case errors.Is(err, truenas.ErrNotFound) && failed == nil:
		return true, refusal.FailedPrecondition("clone failed: the NAS has no VM %s: it was deleted, or see the provider's log", id), nil
	case errors.Is(err, truenas.ErrNotFound):
		return true, failed, nil
	case err != nil:
		return false, nil, err
	}
	if err := s.marks.Identify(ctx, vm); err != nil {
		return false, nil, err
	}
	switch {
	case s.checkComplete(vm) == nil:
		return true, nil, nil
	case failed != nil:
		return true, failed, nil
	}
	return false, nil, s.resume(ctx, vm)
}

// resume continues an interrupted clone, unless another replica holds its lock.
func (s *Server) resume(ctx context.Context, vm truenas.VM) error {
	m, _ := s.marks.Of(vm)
	busy, err := s.leases.HeldByOther(ctx, s.layout.VMDataset(m.Pool, m.OnNAS()))
	if err != nil || busy {
		return err
	}
	s.copy(vm.UUID, m.Source, func(ctx context.Context) (*cloning, error) {
		source, err := s.current(ctx, m.Source)
		if errors.Is(err, truenas.ErrNotFound) {
			err = refusal.FailedPrecondition("source VM %s is not on the NAS any more", m.Source)
		}
		c := &cloning{s: s, source: source, host: m.Host, resumed: true}
		c.want = spec.VM{Name: m.Name, Owner: m.Owner, Namespace: m.Namespace, Tags: m.Tags, Pool: m.Pool, Source: m.Source, Host: m.Host, Class: classOf(vm)}
		c.inheritNICs()
		return c, err
	})
	return nil
}

// unfinished is the error for operations on an unfinished full clone.
func unfinished(name string) error {
	return refusal.Aborted("VM %q is a full clone in progress: wait for its task", name)
}

// checkComplete refuses an operation on a full clone that is not complete.
func (s *Server) checkComplete(vm truenas.VM) error {
	if m, ok := s.marks.Of(vm); ok && m.Source != "" {
		return unfinished(m.Name)
	}
	return nil
}

// markComplete removes the source from the mark of a full clone's record.
func (s *Server) markComplete(ctx context.Context, vm truenas.VM) error {
	if s.checkComplete(vm) == nil {
		return nil
	}
	m, _ := s.marks.Of(vm)
	// The dataset comes first, because an unedited description takes precedence over it.
	update := truenas.DatasetUpdate{SetUserProperties: map[string]string{spec.PropClone: spec.CloneComplete}}
	if _, err := s.nas.Datasets.Update(ctx, s.layout.VMDataset(m.Pool, m.OnNAS()), update); err != nil {
		return err
	}
	m.Source, m.Host, m.Pool = "", "", ""
	s.marks.Note(m)
	description := m.Describe()
	before := s.inventory.Mark()
	vm, err := s.nas.VMs.Update(ctx, vm.ID, truenas.VMUpdate{Description: &description})
	if err != nil {
		return err
	}
	s.inventory.Put(vm, before)
	return nil
}

// copiesOf returns the incomplete full clones of a VM.
func (s *Server) copiesOf(id string, vms []truenas.VM) []truenas.VM {
	return slices.DeleteFunc(slices.Clone(vms), func(vm truenas.VM) bool {
		m, _ := s.marks.Of(vm)
		return m.Source == "" || m.Source != id
	})
}
