package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Sim is a simulated NAS. All its methods may be called at any time, from any goroutine, except from an OnCall function where
// noted.
type Sim struct {
	cfg        Config
	generation generation
	release    release
	clock      Clock
	methods    map[string]method
	transcript *transcript

	ctx    context.Context // canceled by Close, with errClosed as its cause
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // connections, calls and jobs

	latency atomic.Int64 // nanoseconds, the minimum duration of each call

	mu          sync.Mutex // guards everything below
	closed      bool
	offline     bool
	libvirtAway bool
	state       state
	accounts    []*account
	sessions    map[*session]struct{}
	heldEvents  map[string][]func() // delayed events by collection
	life        int                 // counts the restarts of the middleware
	jobs        jobs
	tokens      map[string]*token
	downloads   map[int]*download
	attempts    map[string][]attempt
	faults      []*armed
	calls       []string
	read        int // snapshots that queries read
	rows        int // datasets in the replies of queries
	onCall      func(n int, method string)
	remote      string // replaces the address of every peer, unless empty
	cert        []byte // hash of the TLS certificate, for channel binding
	random      *rand.Rand
}

// New makes a simulated NAS. The caller must close it.
func New(cfg Config) (*Sim, error) {
	cfg = cfg.withDefaults()
	g, err := generationOf(cfg.Release)
	if err != nil {
		return nil, err
	}
	if len(cfg.Versions) > 0 {
		g.versions = cfg.Versions
	}
	s := &Sim{
		cfg: cfg, generation: g, release: g.release, clock: cfg.Clock,
		methods:    methodTable(g.release),
		transcript: newTranscript(cfg.Transcript, g.name, cfg.Keys),
		sessions:   map[*session]struct{}{},
		heldEvents: map[string][]func(){},
		random:     rand.New(rand.NewPCG(uint64(cfg.Seed), 0x5eed)),
	}
	s.SetLatency(cfg.Latency)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.forget()
	for _, k := range cfg.Keys {
		a, err := newAccount(k)
		if err != nil {
			return nil, err
		}
		s.accounts = append(s.accounts, a)
	}
	s.state = newState(cfg, s.clock.Now())
	return s, nil
}

// forget drops the data in the middleware's memory: jobs, tokens, downloads and the count of logins.
func (s *Sim) forget() {
	s.jobs = jobs{}
	s.tokens = map[string]*token{}
	s.downloads = map[int]*download{}
	s.attempts = map[string][]attempt{}
}

// Close cuts the connections, ends the jobs and waits for both. VMs on a [Hypervisor] lose power.
func (s *Sim) Close() {
	s.mu.Lock()
	s.closed = true
	s.cutLocked()
	s.switchOff()
	s.mu.Unlock()
	s.cancel(errClosed)
	s.wg.Wait()
}

// CutConnections cuts every connection without a close frame. Calls that were already received still run, but their replies are
// lost.
func (s *Sim) CutConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutLocked()
}

func (s *Sim) cutLocked() {
	for c := range s.sessions {
		c.closed = true
		c.cut()
	}
}

var errRestarted = errors.New("the middleware was restarted")

// RestartMiddleware cuts the connections and forgets the jobs and the calls that have not begun, as a restart or a crash of the
// service does. A job in progress stops where it is. VMs and storage are unchanged.
func (s *Sim) RestartMiddleware() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life++
	s.cutLocked()
	for _, j := range s.jobs.list {
		j.gone = true
		j.cancel(errRestarted)
	}
	s.forget()
	s.rewatch()
}

// SetOffline cuts the connections and refuses new ones, or accepts connections again.
func (s *Sim) SetOffline(offline bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offline = offline
	if offline {
		s.cutLocked()
	}
}

// SetLatency sets the minimum duration of later calls, in wall time.
func (s *Sim) SetLatency(d time.Duration) { s.latency.Store(int64(d)) }

// late returns the minimum duration of each call.
func (s *Sim) late() time.Duration { return time.Duration(s.latency.Load()) }

// PretendRemote makes every peer appear to have an address, such as "192.0.2.7". An empty address ends this.
func (s *Sim) PretendRemote(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remote = address
}

// spawn runs fn in a goroutine that Close waits for. It does nothing after the simulator is closed. The caller holds the lock.
func (s *Sim) spawn(fn func()) {
	if s.closed {
		return
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		fn()
	}()
}
