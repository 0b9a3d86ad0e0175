package sim

import (
	"regexp"
	"slices"
	"time"
)

var replicationMethods = map[string]method{
	"replication.run_onetime": {early: []string{fullAdmin}, roles: []string{"REPLICATION_TASK_WRITE"}, job: true, uninterruptible: true, run: replicateOnce},
}

// replication has the parameters of replication.run_onetime. The simulator supports only transport LOCAL.
type replication struct {
	Direction      string            `json:"direction" sim:"required,enum=PUSH|PULL"`
	Transport      string            `json:"transport" sim:"required,enum=SSH|SSH+NETCAT|LOCAL"`
	Sudo           bool              `json:"sudo"`
	Sources        []string          `json:"source_datasets" sim:"required"`
	Target         string            `json:"target_dataset" sim:"required"`
	Recursive      bool              `json:"recursive" sim:"required"`
	Exclude        []string          `json:"exclude"`
	Properties     bool              `json:"properties"`
	PropsExclude   []string          `json:"properties_exclude"`
	PropsOverride  map[string]string `json:"properties_override"`
	Replicate      bool              `json:"replicate"`
	Encryption     bool              `json:"encryption"`
	EncryptInherit *bool             `json:"encryption_inherit" sim:"nullable"`
	NamingSchema   []string          `json:"naming_schema"`
	AlsoInclude    []string          `json:"also_include_naming_schema"`
	NameRegex      *string           `json:"name_regex" sim:"nullable,minlen=1"`
	FromScratch    bool              `json:"allow_from_scratch"`
	Readonly       string            `json:"readonly" sim:"enum=SET|REQUIRE|IGNORE"`
	HoldPending    bool              `json:"hold_pending_snapshots"`
	Retention      string            `json:"retention_policy" sim:"required,enum=SOURCE|CUSTOM|NONE"`
	LifetimeValue  *int              `json:"lifetime_value" sim:"nullable,min=1"`
	LifetimeUnit   *string           `json:"lifetime_unit" sim:"nullable,enum=HOUR|DAY|WEEK|MONTH|YEAR"`
	Compression    *string           `json:"compression" sim:"nullable"`
	SpeedLimit     *int              `json:"speed_limit" sim:"nullable,min=1"`
	LargeBlock     bool              `json:"large_block"`
	Embed          bool              `json:"embed"`
	Compressed     bool              `json:"compressed"`
	Retries        int               `json:"retries" sim:"min=1"`
	LoggingLevel   *string           `json:"logging_level" sim:"nullable,enum=DEBUG|INFO|WARNING|ERROR"`
	NoMountpoint   bool              `json:"exclude_mountpoint_property"`
	OnlyScratch    bool              `json:"only_from_scratch"`
	Mount          bool              `json:"mount"`
}

func replicateOnce(c *call) (any, error) {
	p := replication{Properties: true, Readonly: "SET", Retries: 5, Mount: true}
	if err := c.args([]string{"replication_run_onetime"}, &p); err != nil {
		return nil, err
	}
	const at = "replication_run_onetime"
	var v invalid
	switch {
	case p.Transport != "LOCAL":
		v.add(at+".transport", eINVAL, "Only LOCAL is possible here")
	case len(p.Sources) != 1:
		v.add(at+".source_datasets", eINVAL, "Exactly one source is possible here")
	case p.NameRegex == nil && len(p.NamingSchema) == 0 && len(p.AlsoInclude) == 0:
		v.add(at+".naming_schema", eINVAL, "Naming schema or name regex is required")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	var err error
	var newest *snapshot
	c.locked(func() { newest, err = c.replicate(&p) })
	if err != nil {
		return nil, err
	}
	if newest == nil {
		return nil, nil // The target already has it.
	}
	c.progress(50, "Sending 1 of 1: "+newest.id())
	err = c.linger()
	c.locked(func() { err = c.replicated(&p, newest, err) })
	if err != nil {
		return nil, err
	}
	c.progress(100, "Sending 1 of 1: "+newest.id())
	return nil, nil
}

// replicate begins to copy the newest matching snapshot in full. The target shares no blocks with its source and can be on
// another pool. It has the snapshot when it is complete. Until then neither the source's snapshot nor the target can be
// destroyed, even after an abort, because the copy continues (rule 16). Missing parents of the target are created (rule 28).
// replicate returns nil if the target already has the snapshot.
func (c *call) replicate(p *replication) (*snapshot, error) {
	s := &c.sim.state
	from := s.Datasets[p.Sources[0]]
	if from == nil {
		return nil, fail(eFAULT, "Dataset '%s' does not exist.", p.Sources[0])
	}
	matches, err := p.matcher()
	if err != nil {
		return nil, err
	}
	if err := s.maySend(p, from); err != nil {
		return nil, err
	}
	var newest *snapshot
	for _, n := range from.snaps {
		if matches(n.Name) {
			newest = n
		}
	}
	if sent, err := s.upToDate(p, from, newest); sent || err != nil {
		return nil, err
	}
	above := s.Datasets[poolOf(p.Target)]
	if above == nil {
		return nil, fail(eFAULT, "cannot open '%s': dataset does not exist.", poolOf(p.Target))
	}
	if err := s.checkSpace(above, s.snapshotReferenced(newest)); err != nil {
		return nil, fail(eFAULT, "cannot receive new filesystem stream: out of space.")
	}
	s.ancestors(p.Target, c)
	if parent := s.Datasets[parentOf(p.Target)]; parent.Volume {
		return nil, fail(eFAULT, "cannot open '%s': dataset does not exist.", p.Target)
	}
	if old := s.Datasets[p.Target]; old != nil {
		if s.open(old) {
			return nil, fail(eFAULT, "cannot receive new filesystem stream: destination '%s' is busy", p.Target)
		}
		s.remove(old)
	}
	s.receive(newest, from, p, c.now())
	newest.sent++
	s.Datasets[p.Target].arriving++
	return newest, nil
}

// upToDate reports whether the target has the newest matching snapshot.
func (s *state) upToDate(p *replication, from *dataset, newest *snapshot) (bool, error) {
	to := s.Datasets[p.Target]
	switch {
	case to != nil && newest != nil && s.Snapshots[to.Name+"@"+newest.Name] != nil:
		return true, nil
	case newest == nil:
		return false, fail(eFAULT, "Dataset '%s' does not have any matching snapshots to replicate.", from.Name)
	case to == nil || p.FromScratch:
		return false, nil
	case len(to.snaps) > 0:
		return false, fail(eFAULT, "No incremental base on dataset '%s' and replication from scratch is not allowed.", from.Name)
	}
	return false, fail(eFAULT, "Target dataset '%s' does not have snapshots but has data (e.g. '%s' and replication from scratch is not allowed. Refusing to overwrite existing data.", to.Name, to.Name)
}

// maySend checks the target's parent against the encryption of the copy (rule 11).
func (s *state) maySend(p *replication, from *dataset) error {
	to := s.Datasets[p.Target]
	if to != nil {
		if to.Volume != from.Volume {
			return fail(eFAULT, "Source '%s' and target '%s' are of different types.", from.Name, to.Name)
		}
		return nil
	}
	encrypted := s.nearest(p.Target).EncryptionRoot != ""
	inherit := p.EncryptInherit != nil && *p.EncryptInherit
	switch {
	case p.Encryption && inherit && !encrypted:
		return fail(eFAULT, "Encryption inheritance requested for destination dataset '%s', but its existing parent is not encrypted.", p.Target)
	case p.Encryption && p.Properties && from.EncryptionRoot != "":
		return fail(eFAULT, "Re-encrypting already encrypted source dataset '%s' while preserving its properties is not supported.", from.Name)
	case p.Encryption || !encrypted || p.Properties && from.EncryptionRoot != "":
		return nil
	case p.Properties:
		return fail(eFAULT, "Destination dataset '%s' must be encrypted (as one of its ancestors is encrypted). Refusing to transfer unencrypted source dataset '%s'. Please, set up replication task encryption in order to replicate this dataset.", p.Target, from.Name)
	}
	return fail(eFAULT, "Destination dataset '%s' must be encrypted (as one of its ancestors is encrypted). Refusing to transfer source dataset '%s' without properties and without replication task encryption.", p.Target, from.Name)
}

// nearest returns the closest existing dataset above a name, or an empty one.
func (s *state) nearest(name string) *dataset {
	for name = parentOf(name); name != ""; name = parentOf(name) {
		if d := s.Datasets[name]; d != nil {
			return d
		}
	}
	return &dataset{}
}

// replicated ends a replication. err is the reason of an early end.
func (c *call) replicated(p *replication, newest *snapshot, err error) error {
	newest.sent--
	d := c.sim.state.Datasets[p.Target]
	if d != nil {
		d.arriving = 0
	}
	switch {
	case err != nil:
		return err
	case d == nil:
		return fail(eFAULT, "cannot open '%s': dataset does not exist.", p.Target)
	}
	c.sim.state.snap(d, newest.Name, c.now())
	return nil
}

func (s *state) receive(n *snapshot, from *dataset, p *replication, now time.Time) {
	d := &dataset{
		Name: p.Target, Volume: from.Volume, Size: n.Size, BlockSize: from.BlockSize, Txg: s.txg(), Created: now,
		Data: n.Data.copied(),
	}
	for name, f := range n.Files {
		g := *f
		g.Data = f.Data.copied()
		d.store(name, &g)
	}
	if parent := s.Datasets[parentOf(p.Target)]; p.Encryption {
		d.EncryptionRoot = parent.EncryptionRoot
	} else {
		d.EncryptionRoot = from.EncryptionRoot // A raw stream keeps its key.
	}
	if p.Properties {
		for k, v := range from.User {
			if !slices.Contains(p.PropsExclude, k) {
				setUser(d, k, v)
			}
		}
		if from.RefReservation > 0 && !slices.Contains(p.PropsExclude, "refreservation") {
			d.RefReservation = from.RefReservation
		}
	}
	for k, v := range p.PropsOverride {
		setUser(d, k, v)
	}
	if p.Readonly == "SET" {
		setNative(d, "readonly", "on")
	}
	s.add(d)
}

// matcher returns a test for the selected snapshots, by a regular expression for the entire name or by naming schemas.
func (p *replication) matcher() (func(string) bool, error) {
	if p.NameRegex != nil {
		re, err := regexp.Compile("^(?:" + *p.NameRegex + ")$")
		if err != nil {
			return nil, fail(eINVAL, "Invalid regular expression %s", *p.NameRegex)
		}
		return re.MatchString, nil
	}
	fields := regexp.MustCompile(`%[YmdHMSs]`)
	var all []*regexp.Regexp
	for _, schema := range append(slices.Clone(p.NamingSchema), p.AlsoInclude...) {
		text := fields.ReplaceAllString(regexp.QuoteMeta(schema), `[0-9]+`)
		all = append(all, regexp.MustCompile("^"+text+"$"))
	}
	return func(name string) bool {
		return slices.ContainsFunc(all, func(re *regexp.Regexp) bool { return re.MatchString(name) })
	}, nil
}
