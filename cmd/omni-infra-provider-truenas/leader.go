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

// leaseTimes are the durations of leader election: how long a silent leader keeps the lease, how long it tries to renew it, and how
// often.
type leaseTimes struct{ lease, renew, retry time.Duration }

// defaultTimes returns the durations of Kubernetes controllers.
func defaultTimes() leaseTimes {
	return leaseTimes{15 * time.Second, 10 * time.Second, 2 * time.Second}
}

var errLeadershipLost = errors.New("lost leadership: the Lease was not renewed in time")

// electInCluster runs work while this replica is the leader, by a Lease in the pod's cluster.
func electInCluster(ctx context.Context, o *options, work func(context.Context) error) error {
	cluster, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	return elect(ctx, cluster, o.namespace, name+"-"+o.id, defaultTimes(), work)
}

// elect waits for leadership, runs work, and releases the Lease when work has returned. When another replica becomes leader
// meanwhile, elect cancels work and returns an error, and the process has to restart.
func elect(ctx context.Context, cluster *rest.Config, namespace, name string, t leaseTimes, work func(context.Context) error) error {
	lock, err := ctrlleader.NewResourceLock(cluster, noEvents{}, ctrlleader.Options{
		LeaderElection: true, LeaderElectionNamespace: namespace, LeaderElectionID: name, RenewDeadline: t.renew,
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	election := &electionLock{Interface: lock}
	// The Lease outlives ctx until work has returned, so that two replicas never work at the same time.
	electing, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() {
		if !election.taken.Load() {
			giveUp()
		}
	})()
	result := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: election, LeaseDuration: t.lease, RenewDeadline: t.renew, RetryPeriod: t.retry, ReleaseOnCancel: true, Name: name,
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
	if !election.taken.Load() {
		return ctx.Err()
	}
	return <-result
}

// workWhile runs work until ctx ends or another replica leads.
func workWhile(ctx, led context.Context, work func(context.Context) error) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(led, stop)()
	err := work(working)
	if led.Err() != nil && ctx.Err() == nil {
		return errLeadershipLost
	}
	return err
}

// electionLock is the Lease, and whether this replica has ever held it, because the elector records events only for a holder.
type electionLock struct {
	resourcelock.Interface
	taken atomic.Bool
}

func (s *electionLock) RecordEvent(string) { s.taken.Store(true) }

// noEvents drops events: the Lease and the log show the leader.
type noEvents struct{}

func (noEvents) GetEventRecorderFor(string) record.EventRecorder { return nil }

func (noEvents) GetEventRecorder(string) recorder.EventRecorder { return nil }
