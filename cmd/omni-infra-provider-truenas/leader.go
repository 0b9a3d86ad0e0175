package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	ctrlleader "sigs.k8s.io/controller-runtime/pkg/leaderelection"
	"sigs.k8s.io/controller-runtime/pkg/recorder"
)

// terms are how long a replica that does not show a sign of life stays the one that works, how long it tries to show one,
// and how often.
type terms struct{ lease, renew, retry time.Duration }

// usual are the terms that controllers of Kubernetes have.
func usual() terms { return terms{15 * time.Second, 10 * time.Second, 2 * time.Second} }

var errDeposed = errors.New("lost leadership: the Lease was not renewed in time")

// electInCluster does the work while this replica is the one that works, by a Lease in the cluster that the pod runs in.
func electInCluster(ctx context.Context, o *options, work func(context.Context) error) error {
	cluster, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	return elect(ctx, cluster, o.namespace, name+"-"+o.id, usual(), work)
}

// elect waits for leadership, runs work, and releases the Lease when work has returned. When another replica becomes leader
// meanwhile, elect cancels work and returns an error, and the process has to restart.
func elect(ctx context.Context, cluster *rest.Config, namespace, name string, t terms, work func(context.Context) error) error {
	lock, err := ctrlleader.NewResourceLock(cluster, noEvents{}, ctrlleader.Options{
		LeaderElection: true, LeaderElectionNamespace: namespace, LeaderElectionID: name, RenewDeadline: t.renew,
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	seat := &seat{Interface: lock}
	// The Lease outlives ctx until the work has ended, so that two replicas never work side by side.
	electing, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() {
		if !seat.taken.Load() {
			giveUp()
		}
	})()
	result := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: seat, LeaseDuration: t.lease, RenewDeadline: t.renew, RetryPeriod: t.retry, ReleaseOnCancel: true, Name: name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(led context.Context) {
				result <- workWhile(ctx, led, work)
				giveUp()
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	elector.Run(electing)
	if !seat.taken.Load() {
		return ctx.Err()
	}
	return <-result
}

// workWhile does the work until ctx ends or another replica leads.
func workWhile(ctx, led context.Context, work func(context.Context) error) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(led, stop)()
	err := work(working)
	if led.Err() != nil && ctx.Err() == nil {
		return errDeposed
	}
	return err
}

// seat is the Lease, and whether this replica has ever held it: the elector records events of a holder only.
type seat struct {
	resourcelock.Interface
	taken atomic.Bool
}

func (s *seat) RecordEvent(string) { s.taken.Store(true) }

// noEvents records nothing: who works shows in the Lease and in the log.
type noEvents struct{}

func (noEvents) GetEventRecorderFor(string) record.EventRecorder { return nil }

func (noEvents) GetEventRecorder(string) recorder.EventRecorder { return nil }
