package sim

import (
	"encoding/json"
	"strings"
)

// encryption is the encryption of a new dataset. The simulator does not encrypt data.
type encryption struct {
	GenerateKey bool    `json:"generate_key"`
	Iterations  int     `json:"pbkdf2iters" sim:"min=100000"`
	Algorithm   string  `json:"algorithm" sim:"enum=AES-128-CCM|AES-192-CCM|AES-256-CCM|AES-128-GCM|AES-192-GCM|AES-256-GCM"`
	Passphrase  *string `json:"passphrase" sim:"nullable,minlen=8"`
	Key         *string `json:"key" sim:"nullable,minlen=64,maxlen=64"`
}

type userProperty struct {
	Key   string `json:"key" sim:"required,pattern=.*:.*"`
	Value string `json:"value" sim:"required"`
}

// datasetParams has the parameters of create and update: the members of both models of a create, and of the model of an update.
// The order is that of the models, which is also the order of validation errors.
type datasetParams struct {
	Name              string         `json:"name" sim:"required,zfsname,minlen=1"`
	Comments          *string        `json:"comments"`
	Sync              *string        `json:"sync" sim:"enum=STANDARD|ALWAYS|DISABLED|INHERIT"`
	Snapdev           *string        `json:"snapdev" sim:"optional,enum=HIDDEN|VISIBLE|INHERIT"`
	Compression       *string        `json:"compression" sim:"enum=ON|OFF|LZ4|GZIP|GZIP-1|GZIP-9|ZSTD|ZSTD-FAST|ZLE|LZJB|ZSTD-1|ZSTD-2|ZSTD-3|ZSTD-4|ZSTD-5|ZSTD-6|ZSTD-7|ZSTD-8|ZSTD-9|ZSTD-10|ZSTD-11|ZSTD-12|ZSTD-13|ZSTD-14|ZSTD-15|ZSTD-16|ZSTD-17|ZSTD-18|ZSTD-19|ZSTD-FAST-1|ZSTD-FAST-2|ZSTD-FAST-3|ZSTD-FAST-4|ZSTD-FAST-5|ZSTD-FAST-6|ZSTD-FAST-7|ZSTD-FAST-8|ZSTD-FAST-9|ZSTD-FAST-10|ZSTD-FAST-20|ZSTD-FAST-30|ZSTD-FAST-40|ZSTD-FAST-50|ZSTD-FAST-60|ZSTD-FAST-70|ZSTD-FAST-80|ZSTD-FAST-90|ZSTD-FAST-100|ZSTD-FAST-500|ZSTD-FAST-1000|INHERIT"`
	Exec              *string        `json:"exec" sim:"enum=ON|OFF|INHERIT"`
	Managedby         *string        `json:"managedby" sim:"minlen=1"`
	QuotaWarning      any            `json:"quota_warning"`
	QuotaCritical     any            `json:"quota_critical"`
	RefquotaWarning   any            `json:"refquota_warning"`
	RefquotaCritical  any            `json:"refquota_critical"`
	Reservation       *int64         `json:"reservation" sim:"optional"`
	Refreservation    *int64         `json:"refreservation" sim:"optional"`
	SpecialSmallBlock any            `json:"special_small_block_size"`
	Copies            any            `json:"copies"`
	Snapdir           *string        `json:"snapdir" sim:"enum=DISABLED|VISIBLE|HIDDEN|INHERIT"`
	Deduplication     *string        `json:"deduplication" sim:"enum=ON|VERIFY|OFF|INHERIT"`
	Checksum          *string        `json:"checksum" sim:"enum=ON|OFF|FLETCHER2|FLETCHER4|SHA256|SHA512|SKEIN|EDONR|BLAKE3|INHERIT"`
	Readonly          *string        `json:"readonly" sim:"enum=ON|OFF|INHERIT"`
	ShareType         string         `json:"share_type" sim:"enum=GENERIC|MULTIPROTOCOL|NFS|SMB|APPS"`
	EncryptionOptions encryption     `json:"encryption_options"`
	Encryption        bool           `json:"encryption"`
	InheritEncryption bool           `json:"inherit_encryption"`
	UserProperties    []userProperty `json:"user_properties"`
	CreateAncestors   bool           `json:"create_ancestors"`

	Type            *string `json:"type" sim:"branch"`
	Aclmode         *string `json:"aclmode" sim:"only=FILESYSTEM,optional,enum=PASSTHROUGH|RESTRICTED|DISCARD|INHERIT"`
	Acltype         *string `json:"acltype" sim:"only=FILESYSTEM,optional,enum=OFF|NFSV4|POSIX|INHERIT"`
	Atime           *string `json:"atime" sim:"only=FILESYSTEM,optional,enum=ON|OFF|INHERIT"`
	Casesensitivity *string `json:"casesensitivity" sim:"only=FILESYSTEM,optional,enum=SENSITIVE|INSENSITIVE|INHERIT"`
	Quota           *int64  `json:"quota" sim:"only=FILESYSTEM,nullable"`
	Refquota        *int64  `json:"refquota" sim:"only=FILESYSTEM,nullable"`
	Recordsize      *string `json:"recordsize" sim:"only=FILESYSTEM"`

	ForceSize    bool   `json:"force_size" sim:"only=VOLUME,optional"`
	Sparse       bool   `json:"sparse" sim:"only=VOLUME,optional"`
	Volsize      *int64 `json:"volsize" sim:"only=VOLUME,required"`
	Volblocksize string `json:"volblocksize" sim:"only=VOLUME,optional,enum=512|512B|1K|2K|4K|8K|16K|32K|64K|128K"`

	UserPropertiesUpdate []userPropertyUpdate `json:"user_properties_update" sim:"only=update"`

	isVolume bool
}

type userPropertyUpdate struct {
	Key    string  `json:"key" sim:"required,pattern=.*:.*"`
	Value  *string `json:"value"`
	Remove bool    `json:"remove"`
}

// createOnly lists the members that an update lacks.
const createOnly = "name type share_type encryption_options encryption inherit_encryption casesensitivity sparse volblocksize"

// extraInputs refuses parameters that exist, but not in this model.
func extraInputs(raw json.RawMessage, at string, names ...string) error {
	var given map[string]json.RawMessage
	if json.Unmarshal(raw, &given) != nil {
		return nil // already refused: not an object
	}
	var v invalid
	for _, list := range names {
		for _, name := range strings.Fields(list) {
			if _, ok := given[name]; ok {
				v.add(at+"."+name, eINVAL, "Extra inputs are not permitted")
			}
		}
	}
	return v.err()
}

func datasetCreate(c *call) (any, error) {
	p, err := c.datasetToMake()
	if err != nil {
		return nil, err
	}
	if err := c.checkCreate(p); err != nil {
		return nil, err
	}
	d, err := c.sim.state.create(p, c.release(), c)
	if err != nil {
		return nil, err
	}
	if c.release().hidden(d.Name) {
		return nil, missing("PoolDataset %s does not exist", d.Name)
	}
	row := c.shownWhole(d)
	c.sim.emit(datasetEvents, "added", d.Name, row)
	return row, nil
}

// datasetToMake reads the argument of a create, a union of two models. It takes the first model that fits. If none does, it
// returns the validation errors of both.
func (c *call) datasetToMake() (*datasetParams, error) {
	var raw json.RawMessage
	if err := c.args([]string{"data"}, &raw); err != nil {
		return nil, err
	}
	var all invalid
	for _, kind := range []string{"FILESYSTEM", "VOLUME"} {
		p := blankDataset()
		p.InheritEncryption = true
		p.isVolume = kind == "VOLUME"
		at := map[string]string{"FILESYSTEM": "data.PoolDatasetCreateFilesystem", "VOLUME": "data.PoolDatasetCreateVolume"}[kind]
		bad := c.decodeBranch(kind, at, raw, &p)
		checkUnions(&p, at, &bad)
		if len(bad) == 0 {
			return &p, nil
		}
		all = append(all, bad...)
	}
	return nil, all
}

// checkCreate makes TrueNAS's checks before it calls ZFS: first those of the name and the parent, then the rest.
func (c *call) checkCreate(p *datasetParams) error {
	const at = "pool_dataset_create"
	var v invalid
	switch {
	case !strings.Contains(p.Name, "/"):
		v.add(at+".name", eINVAL, "You need a full name, e.g. pool/newdataset")
	case !validDatasetName(p.Name):
		v.add(at+".name", eINVAL, "Invalid dataset name")
	case len(p.Name) > 200:
		v.add(at+".name", eINVAL, "Dataset name length should be less than or equal to 200")
	case strings.HasSuffix(p.Name, " "):
		v.add(at+".name", eINVAL, "Trailing spaces are not permitted in dataset names")
	default:
		return c.checkPlace(p)
	}
	return v.err()
}

func (c *call) checkPlace(p *datasetParams) error {
	const at = "pool_dataset_create"
	s := &c.sim.state
	var v invalid
	if c.release().reserved(p.Name) {
		v.add(at+".name", eINVAL, "'%s' is using system internal managed dataset. Please specify a different parent.", p.Name)
	}
	parent := c.parentFor(p, &v)
	if parent == nil {
		return v.err()
	}
	if value, _, _ := s.inherited(parent, "readonly"); value == "on" {
		v.add(at+".readonly", eINVAL, "Turn off readonly mode on %s to create %s", parent.Name, poolOf(p.Name))
	}
	if err := v.err(); err != nil {
		return err
	}
	if p.isVolume {
		s.checkVolume(p, parent, &v)
	}
	if err := v.err(); err != nil {
		return err
	}
	if parent.Volume {
		v.add(at+".name", eINVAL, "%s: parent may not be a ZFS volume", parent.Name)
	}
	if s.pathExists("/mnt/" + p.Name) {
		v.add(at+".name", eINVAL, "Path /mnt/%s already exists", p.Name)
	}
	c.checkEncryption(p, parent, &v)
	return v.err()
}

// parentFor returns the parent of a new dataset: with create_ancestors, the nearest one that exists.
func (c *call) parentFor(p *datasetParams, v *invalid) *dataset {
	s := &c.sim.state
	name := parentOf(p.Name)
	there := func() bool { return s.Datasets[name] != nil && !c.release().hidden(name) }
	for p.CreateAncestors && !there() && strings.Contains(name, "/") {
		name = parentOf(name)
	}
	if there() {
		return s.Datasets[name]
	}
	text := "Parent dataset (" + name + ") does not exist."
	switch {
	case p.CreateAncestors:
		text = "Please specify a pool which exists for the dataset/volume to be created"
	case c.release() == v25_04_2:
		text = "Parent dataset does not exist for specified name"
	case !strings.Contains(name, "/"):
		text = "zpool (" + name + ") does not exist."
	}
	v.add("pool_dataset_create.name", eINVAL, "%s", text)
	return nil
}

// pathExists reports whether a path is a file, a folder or a mounted file system.
func (s *state) pathExists(path string) bool {
	d, rel := s.locate(path)
	if d == nil {
		return false
	}
	return rel == "" || d.Files[rel] != nil
}

func (s *state) checkVolume(p *datasetParams, parent *dataset, v *invalid) {
	const at = "pool_dataset_create.volsize"
	if !p.ForceSize && *p.Volsize > s.available(parent)/10*8 {
		v.add(at, eINVAL, "It is not recommended to use more than 80%% of your available space for VOLUME")
	}
	if *p.Volsize%volblocksize(p.Volblocksize) != 0 {
		v.add(at, eINVAL, "Volume size should be a multiple of volume block size")
	}
}

func volblocksize(text string) int64 {
	sizes := map[string]int64{
		"512": 512, "512B": 512, "1K": 1 << 10, "2K": 2 << 10, "4K": 4 << 10, "8K": 8 << 10,
		"16K": 16 << 10, "32K": 32 << 10, "64K": 64 << 10, "128K": 128 << 10,
	}
	if n := sizes[text]; n > 0 {
		return n
	}
	return blockSize
}

// validDatasetName applies ZFS's rule for the parts of a name.
func validDatasetName(name string) bool {
	for _, part := range strings.Split(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
		for i := range len(part) {
			if b := part[i]; !isAlphanumeric(b) && !strings.ContainsRune("-_.: ", rune(b)) {
				return false
			}
		}
	}
	return true
}

func isAlphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
