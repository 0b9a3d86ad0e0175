package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

var imageSettings = []setting{
	{key: "images.unused_for", flag: "images-unused-for", env: []string{"PROVIDER_IMAGES_UNUSED_FOR"}, use: "remove images without clones after this time, such as 720h; the next VM fetches them again (default: never)",
		set: func(c *Config, v string) (err error) { c.Images.UnusedFor, err = positive(v); return }},
	{key: "images.max_gib", flag: "images-max-gib", env: []string{"PROVIDER_IMAGES_MAX_GIB"}, use: "largest disk that is accepted (default 2048)",
		set: func(c *Config, v string) error { return number(v, &c.Images.MaxGiB, 1, 1<<20) }},
	{key: "images.max_expansion", flag: "images-max-expansion", env: []string{"PROVIDER_IMAGES_MAX_EXPANSION"}, use: "largest ratio of an image's size to its compressed size (default 1000)",
		set: func(c *Config, v string) error { return number(v, &c.Images.MaxExpansion, 1, 1e9) }},
	{key: "images.memory_mib", flag: "images-memory-mib", env: []string{"PROVIDER_IMAGES_MEMORY_MIB"},
		use: "memory limit of all image and export transfers together; the others wait (default: by the memory limit of the container)",
		set: func(c *Config, v string) error { return number(v, &c.Images.MemoryMiB, 32, 1<<20) }},
	{key: "images.allow_addresses", flag: "images-allow-addresses", env: []string{"PROVIDER_IMAGES_ALLOW_ADDRESSES"},
		use: "loopback and link-local networks that images may come from", set: addresses},
	{key: "images.nas_paths", flag: "images-nas-paths", env: []string{"PROVIDER_IMAGES_NAS_PATHS"}, set: datasets,
		use: "datasets of the NAS whose volumes, snapshots and image files VMs may use by path, such as tank/golden (default: only images that the provider prepared or imported)"},
	{key: "images.file_roots", flag: "images-file-roots", env: []string{"PROVIDER_IMAGES_FILE_ROOTS"}, use: "folders of this machine that images may be read from (default: none)",
		set: names(func(c *Config) *[]string { return &c.Images.FileRoots })},
	{key: "images.plain_http_registries", flag: "images-plain-http-registries", env: []string{"PROVIDER_IMAGES_PLAIN_HTTP_REGISTRIES"},
		use: "OCI registries without TLS, host or host:port", set: names(func(c *Config) *[]string { return &c.Images.PlainHTTPRegistries })},
	{key: "images.docker_config", flag: "images-docker-config", env: []string{"PROVIDER_IMAGES_DOCKER_CONFIG"}, file: true,
		use: "Docker config.json with credentials of registries", set: text(func(c *Config) *string { return &c.Images.DockerConfig })},
	{key: "images.s3.endpoint", flag: "images-s3-endpoint", env: []string{"PROVIDER_IMAGES_S3_ENDPOINT"}, use: "endpoint of s3:// images (default AWS)",
		set: text(func(c *Config) *string { return &c.Images.S3.Endpoint })},
	{key: "images.s3.region", flag: "images-s3-region", env: []string{"PROVIDER_IMAGES_S3_REGION"}, use: "its region",
		set: text(func(c *Config) *string { return &c.Images.S3.Region })},
	{key: "images.s3.path_style", flag: "images-s3-path-style", bare: true, env: []string{"PROVIDER_IMAGES_S3_PATH_STYLE"}, use: "true: the bucket is part of the path",
		set: truth(func(c *Config) *bool { return &c.Images.S3.PathStyle })},
	{key: "images.s3.access_key_id", env: []string{"PROVIDER_IMAGES_S3_ACCESS_KEY_ID"}, use: "its access key",
		set: text(func(c *Config) *string { return &c.Images.S3.AccessKeyID })},
	{key: "images.s3.secret_access_key", env: []string{"PROVIDER_IMAGES_S3_SECRET_ACCESS_KEY"}, use: "its secret",
		set: secret(func(c *Config) *Secret { return &c.Images.S3.SecretAccessKey })},
}

// positive parses a duration. It refuses a number without a unit as ambiguous.
func positive(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 720h", text)
	}
	return d, nil
}

// number parses a number within limits.
func number[T int64 | float64](text string, to *T, least, most T) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= float64(least) && n <= float64(most)) || float64(T(n)) != n {
		return fmt.Errorf("%q is not a number from %v to %v", text, least, most)
	}
	*to = T(n)
	return nil
}

// datasets parses a list of datasets. A pool is a dataset.
func datasets(c *Config, text string) error {
	for _, item := range list(text) {
		if !validDataset.MatchString(item) && !validDataset.MatchString(item+"/x") {
			return fmt.Errorf("%q is neither a pool nor a dataset such as tank/golden", item)
		}
		c.Images.NASPaths = append(c.Images.NASPaths, item)
	}
	return nil
}

// addresses parses networks such as 10.0.0.0/8 and single addresses.
func addresses(c *Config, text string) error {
	for _, item := range list(text) {
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			address, err := netip.ParseAddr(item)
			if err != nil {
				return fmt.Errorf("%q is neither an address nor a network such as 127.0.0.0/8", item)
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		c.Images.AllowAddresses = append(c.Images.AllowAddresses, prefix)
	}
	return nil
}
