package archive

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// azureBucket is a container of Azure Blob Storage. Azure's SDK retries a request up to three
// times.
type azureBucket struct{ client *container.Client }

// openAzure opens a container by the environment and by parameters, which override it. The
// credentials are the first of these: AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY,
// AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_CONNECTION_STRING (or
// AZURE_STORAGEBLOB_CONNECTIONSTRING), and those that azidentity's DefaultAzureCredential finds.
func openAzure(_ context.Context, name string, s *settings) (cloud, error) {
	account, key := os.Getenv("AZURE_STORAGE_ACCOUNT"), os.Getenv("AZURE_STORAGE_KEY")
	token := os.Getenv("AZURE_STORAGE_SAS_TOKEN")
	connection := cmp.Or(os.Getenv("AZURE_STORAGE_CONNECTION_STRING"), os.Getenv("AZURE_STORAGEBLOB_CONNECTIONSTRING"))

	given := azureEndpoint(connection)
	sent := given
	sent.account = cmp.Or(s.text("storage_account"), given.account)
	sent.domain = cmp.Or(s.text("domain"), given.domain)
	sent.protocol = cmp.Or(s.oneOf("protocol", "http", "https"), given.protocol)
	sent.cdn = s.flag("cdn", given.cdn)
	sent.emulator = s.flag("localemu", given.emulator)
	if err := s.finish(); err != nil {
		return nil, err
	}
	if sent.account == "" {
		return nil, errors.New("the storage account is missing: set AZURE_STORAGE_ACCOUNT, or storage_account " +
			"behind the question mark")
	}
	at := sent.url() + "/" + url.PathEscape(name)

	o := &container.ClientOptions{}
	o.PerCallPolicies = []policy.Policy{storedBytes{}}
	var (
		b   azureBucket
		err error
	)
	switch {
	case account != "" && key != "":
		var shared *container.SharedKeyCredential
		if shared, err = container.NewSharedKeyCredential(account, key); err == nil {
			b.client, err = container.NewClientWithSharedKeyCredential(at, shared, o)
		}
	case token != "":
		// The token grants access to its bearer, so it goes to no server that a location names.
		if !strings.EqualFold(sent.url(), given.url()) {
			return nil, errors.New("the parameters change the server, which AZURE_STORAGE_SAS_TOKEN may not be sent " +
				"to: " +
				"set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_DOMAIN instead")
		}
		b.client, err = container.NewClientWithNoCredential(at+"?"+token, o)
	case connection != "":
		b.client, err = container.NewClientFromConnectionString(connection, name, o)
	default:
		var found *azidentity.DefaultAzureCredential
		if found, err = azidentity.NewDefaultAzureCredential(nil); err == nil {
			b.client, err = container.NewClient(at, found, o)
		}
	}
	if err != nil {
		return nil, err
	}
	return &b, nil
}

// azureServer is the server of an account's containers.
type azureServer struct {
	account, domain, protocol string
	cdn                       bool // the domain stands for the account
	emulator                  bool // the account is in the path
}

// azureEndpoint returns the server that the environment names.
func azureEndpoint(connection string) azureServer {
	a := azureServer{
		account: os.Getenv("AZURE_STORAGE_ACCOUNT"), domain: os.Getenv("AZURE_STORAGE_DOMAIN"),
		protocol: os.Getenv("AZURE_STORAGE_PROTOCOL"),
	}
	a.cdn, _ = strconv.ParseBool(os.Getenv("AZURE_STORAGE_IS_CDN"))
	a.emulator, _ = strconv.ParseBool(os.Getenv("AZURE_STORAGE_IS_LOCAL_EMULATOR"))
	for part := range strings.SplitSeq(connection, ";") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "AccountName":
			a.account = cmp.Or(a.account, value)
		case "DefaultEndpointsProtocol":
			a.protocol = cmp.Or(a.protocol, value)
		}
	}
	return a
}

// url returns the URL of the account.
func (a azureServer) url() string {
	domain := cmp.Or(a.domain, "blob.core.windows.net")
	start := cmp.Or(a.protocol, "https") + "://"
	switch {
	case a.emulator, strings.HasPrefix(domain, "127.0.0.1"), strings.HasPrefix(domain, "localhost"):
		return start + domain + "/" + a.account
	case a.cdn:
		return start + domain
	}
	return start + a.account + "." + domain
}

// storedBytes asks for the stored bytes of objects. Otherwise Go's client decompresses objects
// with Content-Encoding: gzip, and an offset means nothing.
type storedBytes struct{}

func (storedBytes) Do(request *policy.Request) (*http.Response, error) {
	request.Raw().Header.Set("Accept-Encoding", "identity")
	return request.Next()
}

func (b *azureBucket) list(ctx context.Context, q query) (page, error) {
	size := int32(q.size)
	o := &container.ListBlobsHierarchyOptions{Prefix: &q.prefix, MaxResults: &size}
	if q.token != "" {
		o.Marker = &q.token
	}
	out, err := b.client.NewListBlobsHierarchyPager(q.delimiter, o).NextPage(ctx)
	if err != nil {
		return page{}, err
	}
	p := page{next: value(out.NextMarker)}
	for _, folder := range out.Segment.BlobPrefixes {
		p.folders = append(p.folders, value(folder.Name))
	}
	for _, item := range out.Segment.BlobItems {
		l := listed{key: value(item.Name), identity: identity{size: -1}}
		if has := item.Properties; has != nil {
			if value(has.ResourceType) == "directory" { // of an account with a hierarchical namespace
				continue
			}
			l.identity = identity{unquoted(string(value(has.ETag))), value(has.ContentLength), value(has.LastModified)}
		}
		p.objects = append(p.objects, l)
	}
	return p, nil
}

func (b *azureBucket) read(ctx context.Context, key string, offset int64) (answer, error) {
	out, err := b.client.NewBlobClient(key).DownloadStream(ctx,
		&blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: offset}})
	if err != nil {
		return answer{}, err
	}
	length := int64(-1)
	if out.ContentLength != nil {
		length = *out.ContentLength
	}
	i := identity{tag: unquoted(string(value(out.ETag))), modified: value(out.LastModified)}
	return newAnswer(out.Body, offset, length, value(out.ContentRange), i)
}

func (*azureBucket) close() {} // the SDK drops its connections when they have been idle

// value returns what a pointer points to, the zero value if to nothing.
func value[T any](of *T) (v T) {
	if of != nil {
		v = *of
	}
	return v
}
