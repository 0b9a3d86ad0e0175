package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	kuberuntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/record"
	ctrlleader "sigs.k8s.io/controller-runtime/pkg/leaderelection"
	"sigs.k8s.io/controller-runtime/pkg/recorder"
)

// terms are how long a replica that does not show a sign of life stays the one that works, how long it tries to show one,
// and how often.
type terms struct{ lease, renew, retry time.Duration }

// usual are the terms that controllers of Kubernetes have.
func usual() terms { return terms{15 * time.Second, 10 * time.Second, 2 * time.Second} }

var errDeposed = errors.New("another replica has taken over, because this one could not renew its Lease in time")

// electInCluster does the work while this replica is the one that works, by a Lease in the cluster that the pod runs in.
func electInCluster(ctx context.Context, o *options, work func(context.Context) error) error {
	cluster, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	return elect(ctx, cluster, o.namespace, program+"-"+o.id, usual(), work)
}

// elect waits until this replica is the one that works, does the work, and gives the Lease up when the work has ended. When
// another replica takes over meanwhile, the work is cut off and the error says so: the process has to be started anew.
func elect(ctx context.Context, cluster *rest.Config, namespace, name string, t terms, work func(context.Context) error) error {
	lock, err := ctrlleader.NewResourceLock(cluster, noEvents{}, ctrlleader.Options{
		LeaderElection: true, LeaderElectionNamespace: namespace, LeaderElectionID: name, RenewDeadline: t.renew,
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	// The Lease outlives ctx until the work has ended, so that two replicas never work side by side.
	electing, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	var leading atomic.Bool
	defer context.AfterFunc(ctx, func() {
		if !leading.Load() {
			giveUp()
		}
	})()
	result := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: t.lease, RenewDeadline: t.renew, RetryPeriod: t.retry, ReleaseOnCancel: true, Name: name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(led context.Context) {
				leading.Store(true)
				working, stop := context.WithCancel(ctx)
				defer stop()
				defer context.AfterFunc(led, stop)()
				err := work(working)
				if led.Err() != nil && ctx.Err() == nil {
					err = errDeposed
				}
				result <- err
				giveUp()
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	elector.Run(electing)
	if !leading.Load() {
		return ctx.Err()
	}
	return <-result
}

// noEvents records nothing: who works shows in the Lease and in the log.
type noEvents struct{}

func (noEvents) GetEventRecorderFor(string) record.EventRecorder { return silent{} }

func (noEvents) GetEventRecorder(string) recorder.EventRecorder { return nil }

type silent struct{}

func (silent) Event(kuberuntime.Object, string, string, string) {}

func (silent) Eventf(kuberuntime.Object, string, string, string, ...any) {}

func (silent) AnnotatedEventf(kuberuntime.Object, map[string]string, string, string, string, ...any) {
}
