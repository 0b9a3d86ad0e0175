package sim

import (
	"encoding/json"
	"strings"
)

// encryption is taken and checked, and then refused: nothing is encrypted here.
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

// datasetParams is what create and update take. Which of it goes with which
// type of dataset is checked beside it.
type datasetParams struct {
	Name              string         `json:"name" sim:"minlen=1"`
	Type              string         `json:"type" sim:"enum=FILESYSTEM|VOLUME"`
	Comments          *string        `json:"comments"`
	Sync              *string        `json:"sync" sim:"enum=STANDARD|ALWAYS|DISABLED|INHERIT"`
	Snapdev           *string        `json:"snapdev" sim:"enum=HIDDEN|VISIBLE|INHERIT"`
	Compression       *string        `json:"compression" sim:"pattern=^(ON|OFF|LZ4|GZIP(-[19])?|ZSTD(-FAST)?(-[0-9]+)?|ZLE|LZJB|INHERIT)$"`
	Exec              *string        `json:"exec" sim:"enum=ON|OFF|INHERIT"`
	Managedby         *string        `json:"managedby" sim:"minlen=1"`
	QuotaWarning      any            `json:"quota_warning"`
	QuotaCritical     any            `json:"quota_critical"`
	RefquotaWarning   any            `json:"refquota_warning"`
	RefquotaCritical  any            `json:"refquota_critical"`
	Reservation       *int64         `json:"reservation"`
	Refreservation    *int64         `json:"refreservation"`
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

	Aclmode         *string `json:"aclmode" sim:"enum=PASSTHROUGH|RESTRICTED|DISCARD|INHERIT"`
	Acltype         *string `json:"acltype" sim:"enum=OFF|NFSV4|POSIX|INHERIT"`
	Atime           *string `json:"atime" sim:"enum=ON|OFF|INHERIT"`
	Casesensitivity *string `json:"casesensitivity" sim:"enum=SENSITIVE|INSENSITIVE|INHERIT"`
	Quota           *int64  `json:"quota" sim:"nullable"`
	Refquota        *int64  `json:"refquota" sim:"nullable"`
	Recordsize      *string `json:"recordsize"`

	ForceSize    bool   `json:"force_size"`
	Sparse       bool   `json:"sparse"`
	Volsize      *int64 `json:"volsize"`
	Volblocksize string `json:"volblocksize" sim:"enum=512|512B|1K|2K|4K|8K|16K|32K|64K|128K"`

	UserPropertiesUpdate []userPropertyUpdate `json:"user_properties_update"`
}

type userPropertyUpdate struct {
	Key    string  `json:"key" sim:"required,pattern=.*:.*"`
	Value  *string `json:"value"`
	Remove bool    `json:"remove"`
}

const (
	filesystemOnly = "aclmode acltype atime casesensitivity quota refquota recordsize"
	volumeOnly     = "force_size sparse volsize volblocksize"
	updateOnly     = "user_properties_update"
	createOnly     = "name type share_type encryption_options encryption inherit_encryption casesensitivity sparse volblocksize"
)

// extraInputs refuses parameters that exist, but not for this.
func extraInputs(raw json.RawMessage, at string, names ...string) error {
	var given map[string]json.RawMessage
	if json.Unmarshal(raw, &given) != nil {
		return nil // what is no object was refused before
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
	p := blankDataset()
	p.Type = "FILESYSTEM"
	if err := c.args([]string{"data"}, &p); err != nil {
		return nil, err
	}
	foreign := volumeOnly
	if p.Type == "VOLUME" {
		foreign = filesystemOnly
	}
	if err := extraInputs(c.params[0], "data", foreign, updateOnly); err != nil {
		return nil, err
	}
	if err := c.checkCreate(&p); err != nil {
		return nil, err
	}
	d, err := c.sim.state.create(&p, c.release(), c)
	if err != nil {
		return nil, err
	}
	return c.shownWhole(d), nil
}

// checkCreate is what TrueNAS checks before it asks ZFS.
func (c *call) checkCreate(p *datasetParams) error {
	const at = "pool_dataset_create"
	var v invalid
	checkUnions(p, &v)
	switch {
	case p.Name == "":
		v.add("data.name", eINVAL, "Field required")
		return v.err()
	case !strings.Contains(p.Name, "/"):
		v.add(at+".name", eINVAL, "You need a full name, e.g. pool/newdataset")
	case !validDatasetName(p.Name):
		v.add(at+".name", eINVAL, "Invalid dataset name")
	case len(p.Name) > 200:
		v.add(at+".name", eINVAL, "Dataset name length should be less than or equal to 200")
	case strings.HasSuffix(p.Name, " "):
		v.add(at+".name", eINVAL, "Trailing spaces are not permitted in dataset names")
	default:
		parent := c.sim.state.parentFor(p, &v)
		if parent != nil && parent.Volume {
			v.add(at+".name", eINVAL, "%s: parent is not a filesystem", parent.Name)
		}
		if p.Type == "VOLUME" {
			c.sim.state.checkVolume(p, parent, &v)
		}
		checkUserProperties(p.UserProperties, &v)
		if c.sim.state.pathExists("/mnt/" + p.Name) {
			v.add(at+".name", eINVAL, "Path /mnt/%s already exists", p.Name)
		}
	}
	if p.Encryption {
		v.add(at+".encryption", eINVAL, "The simulator does not encrypt")
	}
	return v.err()
}

// parentFor finds where a dataset will hang: with create_ancestors the nearest
// one that exists.
func (s *state) parentFor(p *datasetParams, v *invalid) *dataset {
	name := parentOf(p.Name)
	for p.CreateAncestors && s.Datasets[name] == nil && strings.Contains(name, "/") {
		name = parentOf(name)
	}
	parent := s.Datasets[name]
	if parent != nil {
		return parent
	}
	text := "Parent dataset does not exist for specified name"
	if p.CreateAncestors {
		text = "Please specify a pool which exists for the dataset/volume to be created"
	}
	v.add("pool_dataset_create.name", eINVAL, "%s", text)
	return nil
}

// pathExists says whether a file, a folder or a file system lies at a path.
func (s *state) pathExists(path string) bool {
	d, rel := s.locate(path)
	if d == nil {
		return false
	}
	return rel == "" || d.Files[rel] != nil
}

func (s *state) checkVolume(p *datasetParams, parent *dataset, v *invalid) {
	const at = "pool_dataset_create.volsize"
	if p.Volsize == nil {
		v.add(at, eINVAL, "This field is required for VOLUME")
		return
	}
	if *p.Volsize <= 0 {
		v.add(at, eINVAL, "Volume size must be greater than zero")
		return
	}
	if parent != nil && !p.ForceSize && *p.Volsize > s.available(parent)/10*8 {
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

// validDatasetName is ZFS's rule for the parts of a name.
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
