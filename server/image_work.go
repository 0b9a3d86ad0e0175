package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/truenas"
)

// failureAge is how long a failed preparation is remembered for whoever asks next.
const failureAge = 10 * time.Minute

// leastHold is how long an image that came and is wrong is not fetched again at the least.
const leastHold = 30 * time.Second

// beginWithin is how long ImagePrepare waits for the source to open; the manager waits five
// minutes for the answer.
const beginWithin = 20 * time.Second

// preparations are the images that this process is landing. What is known of an image is on the
// NAS; this only keeps one process from landing it twice, and remembers why it failed.
type preparations struct {
	land  func(context.Context, image, landingWatch) error
	hooks Hooks
	log   *zap.Logger

	ctx    context.Context // ends with the server
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	running map[string]*preparation // by the image's dataset
	failed  map[string]failure
}

type preparation struct {
	image    image
	began    time.Time
	progress disk.Progress
	begun    chan struct{} // closed when the source is open and the NAS knows what is meant to be there, or with done
	done     chan struct{}
}

// landingWatch is told how far a landing is.
type landingWatch struct {
	progress func(disk.Progress)
	begun    func()
}

type failure struct {
	image image
	err   error
	at    time.Time
	until time.Time // it is not tried again before that; zero: at once when it has been told
}

func newPreparations(land func(context.Context, image, landingWatch) error, hooks Hooks, log *zap.Logger) *preparations {
	p := &preparations{land: land, hooks: hooks, log: log, running: map[string]*preparation{}, failed: map[string]failure{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// close interrupts what is under way; the NAS knows enough for the next process to take it up.
func (p *preparations) close() {
	p.cancel()
	p.wait.Wait()
}

// state says whether an image is being landed, or why the last attempt failed. A failure is
// told once, so that the next one to ask starts anew; or for a while, where that would only
// fetch in vain once more.
func (p *preparations) state(dataset string) (running bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.running[dataset]; ok {
		return true, nil
	}
	f, ok := p.failed[dataset]
	if ok && time.Now().Before(f.until) {
		return false, f.err
	}
	delete(p.failed, dataset)
	if !ok || !f.until.IsZero() || time.Since(f.at) > failureAge {
		return false, nil
	}
	return false, f.err
}

// peek is state without telling the failure.
func (p *preparations) peek(dataset string) (running, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, running = p.running[dataset]
	f, ok := p.failed[dataset]
	return running, ok && time.Since(f.at) <= failureAge
}

// progress describes how far an image is, for people.
func (p *preparations) progress(dataset string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.running[dataset]
	if !ok {
		return "", false
	}
	return r.progress.String(), true
}

// states are the images that are being landed, and those whose last attempt failed a short time ago.
func (p *preparations) states() []ImageState {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []ImageState
	for dataset, r := range p.running {
		list = append(list, ImageState{Name: r.image.name, Dataset: dataset, Source: r.image.spec.openSource(), Running: true, Since: r.began, Done: r.progress})
	}
	for dataset, f := range p.failed {
		if time.Since(f.at) <= failureAge {
			list = append(list, ImageState{Name: f.image.name, Dataset: dataset, Source: f.image.spec.openSource(), Since: f.at, Err: f.err})
		}
	}
	return list
}

// begin is start, and waits for a while until it has begun, so that whoever asks for an image
// that cannot be had is told at once.
func (p *preparations) begin(ctx context.Context, i image) error {
	r := p.start(i)
	if r == nil {
		return nil
	}
	select {
	case <-r.begun:
	case <-time.After(beginWithin):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := p.state(i.dataset())
	return err
}

// start lands an image in the background unless that is under way, or the process ends.
func (p *preparations) start(i image) *preparation {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.running[i.dataset()]; ok || p.ctx.Err() != nil {
		return p.running[i.dataset()]
	}
	r := &preparation{image: i, began: time.Now(), begun: make(chan struct{}), done: make(chan struct{})}
	p.running[i.dataset()] = r
	delete(p.failed, i.dataset())
	p.wait.Add(1)
	go p.run(i, r)
	return r
}

func (p *preparations) run(i image, r *preparation) {
	defer p.wait.Done()
	defer close(r.done)
	begun := sync.OnceFunc(func() { close(r.begun) })
	defer begun()
	ctx, cancel := context.WithTimeout(p.ctx, i.spec.timeout)
	defer cancel()
	log := p.log.With(zap.String("image", i.name), zap.String("key", i.key))
	log.Info("preparing image")
	ctx, traced := p.hooks.Trace(ctx, "prepare image")
	began, err := p.retry(ctx, i, landingWatch{begun: begun, progress: func(progress disk.Progress) {
		p.mu.Lock()
		r.progress = progress
		p.mu.Unlock()
	}}, log)
	traced(err)
	if err == nil || p.ctx.Err() == nil {
		p.hooks.OnImage(time.Since(r.began), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, i.dataset())
	switch {
	case err == nil:
		log.Info("image is ready", zap.String("path", i.snapshot()))
	case p.ctx.Err() == nil: // Or it was interrupted, which is nobody's failure.
		p.failed[i.dataset()] = failed(i, err, began && ofItself(err), time.Since(r.began))
		log.Error("image could not be prepared", zap.Error(err))
	}
}

// retry repeats a preparation whose failure may pass, as often as the image's spec allows. One
// that has not begun is left to whoever asked for it, and asks again.
func (p *preparations) retry(ctx context.Context, i image, watch landingWatch, log *zap.Logger) (began bool, err error) {
	steps := disk.EveryPercent(5, func(now disk.Progress) { log.Info("landing image", zap.Stringer("progress", now)) })
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		err := p.land(ctx, i, landingWatch{
			begun:    func() { began = true; watch.begun() },
			progress: func(now disk.Progress) { watch.progress(now); steps(now) },
		})
		if err != nil && (!began || !mayPass(err)) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithMaxTries(uint(i.spec.retries)+1), backoff.WithMaxElapsedTime(0)) //nolint:gosec // 0 to 10.
	return began, err
}

func mayPass(err error) bool { return passing(err) || disk.Temporary(err) }

// ofItself says that a failure is the image's and not the NAS's, which may do better next time.
func ofItself(err error) bool {
	var there *truenas.Error
	return !mayPass(err) && !errors.As(err, &there)
}

// failed notes a failure. The manager asks again after a few seconds, for ever. An image that came
// and is wrong, as when its checksum is another one, would be fetched over and over; it is tried
// again after twice the time that this took. One with another checksum or address is another image.
func failed(i image, err error, final bool, took time.Duration) failure {
	f := failure{image: i, err: err, at: time.Now()}
	if final {
		f.until = f.at.Add(min(max(2*took, leastHold), failureAge))
		f.err = fmt.Errorf("%w; it is not fetched again before %s UTC", err, f.until.UTC().Format(time.TimeOnly))
	}
	return f
}
