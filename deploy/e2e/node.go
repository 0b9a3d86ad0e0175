package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// node replaces kubelet and controllers for the manager's Deployments: it starts, restarts and stops a pod for each Deployment,
// updates its Secrets, writes the Deployment's status, and binds claims.
type node struct {
	w    *world
	mu   sync.Mutex
	pods map[types.NamespacedName]*pod
	held map[types.NamespacedName]bool // pods that must not run
	next int                           // last part of the next address
}

func newNode(w *world) *node {
	return &node{w: w, pods: map[types.NamespacedName]*pod{}, held: map[types.NamespacedName]bool{}, next: 100}
}

// run maintains the pods until ctx is done.
func (n *node) run(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := n.sync(ctx); err != nil && ctx.Err() == nil {
			n.w.timeline.note("node", "%v", err)
		}
		select {
		case <-ctx.Done():
			n.close()
			return
		case <-tick.C:
		}
	}
}

func (n *node) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	var stopping sync.WaitGroup
	for _, p := range n.pods {
		stopping.Go(p.remove)
	}
	stopping.Wait()
}

func (n *node) sync(ctx context.Context) error {
	var claims corev1.PersistentVolumeClaimList
	if err := n.w.api.List(ctx, &claims); err != nil {
		return err
	}
	for i := range claims.Items {
		if err := n.bind(ctx, &claims.Items[i]); err != nil {
			return err
		}
	}
	var deployments appsv1.DeploymentList
	if err := n.w.api.List(ctx, &deployments); err != nil {
		return err
	}
	wanted := map[types.NamespacedName]bool{}
	for i := range deployments.Items {
		d := &deployments.Items[i]
		if orphan, err := n.orphaned(ctx, d); err != nil {
			return err
		} else if orphan {
			continue
		}
		key := client.ObjectKeyFromObject(d)
		wanted[key] = true
		if err := n.one(ctx, d); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for key, p := range n.pods {
		if !wanted[key] {
			p.remove()
			delete(n.pods, key)
		}
	}
	return nil
}

// one brings the pod of a Deployment to the specified state, and reports its status.
func (n *node) one(ctx context.Context, d *appsv1.Deployment) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := client.ObjectKeyFromObject(d)
	p := n.pods[key]
	if p == nil {
		p = &pod{name: d.Name, ns: d.Namespace, address: network + strconv.Itoa(n.next), root: filepath.Join(n.w.dir("pods"), d.Name)}
		n.next++
		n.pods[key] = p
		if err := n.w.names.add(fmt.Sprintf("%s.%s.svc.cluster.local", d.Name, d.Namespace), p.address); err != nil {
			return err
		}
	}
	spec := d.Spec.Template.Spec
	template, err := json.Marshal(d.Spec.Template)
	if err != nil {
		return err
	}
	made := fmt.Sprintf("%x", sha256.Sum256(template))
	switch {
	case n.held[key]:
		if p.process != nil && !p.process.ended() {
			p.process.kill()
		}
	case p.process == nil || p.process.ended():
		if err := p.start(ctx, n.w, d.Spec.Template, made); err != nil {
			return err
		}
	case p.made != made:
		n.w.timeline.note("node", "%s is rolled out again", d.Name)
		p.remove()
		if err := p.start(ctx, n.w, d.Spec.Template, made); err != nil {
			return err
		}
	default:
		if err := p.syncSecrets(ctx, n.w, spec); err != nil {
			return err
		}
	}
	ready := p.ready(ctx)
	return errors.Join(n.report(ctx, d, ready), n.show(ctx, d, p, ready))
}

// report writes the Deployment's status if it has changed.
func (n *node) report(ctx context.Context, d *appsv1.Deployment, ready bool) error {
	var count int32
	if ready {
		count = 1
	}
	s := &d.Status
	if s.ObservedGeneration == d.Generation && s.ReadyReplicas == count && s.Replicas == 1 {
		return nil
	}
	s.ObservedGeneration, s.Replicas, s.UpdatedReplicas = d.Generation, 1, 1
	s.ReadyReplicas, s.AvailableReplicas, s.UnavailableReplicas = count, count, 1-count
	return ignoreConflict(n.w.api.Status().Update(ctx, d))
}

// kill kills the process of a provider. The node starts it again, as after a crash.
func (n *node) kill(ns, provider string) error {
	return n.with(ns, provider, func(_ types.NamespacedName, p *pod) { p.process.kill() })
}

// hold ends the process and prevents its restart until release.
func (n *node) hold(ns, provider string) error {
	return n.with(ns, provider, func(key types.NamespacedName, p *pod) {
		n.held[key] = true
		p.process.kill()
	})
}

func (n *node) release(ns, provider string) error {
	return n.with(ns, provider, func(key types.NamespacedName, _ *pod) { delete(n.held, key) })
}

func (n *node) with(ns, provider string, do func(types.NamespacedName, *pod)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := types.NamespacedName{Namespace: ns, Name: "virtrigaud-provider-" + ns + "-" + provider}
	p := n.pods[key]
	if p == nil || p.process == nil {
		return fmt.Errorf("no pod %s", key)
	}
	do(key, p)
	return nil
}

// ignoreConflict drops the error of a conflicting update, which the next round repeats.
func ignoreConflict(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
