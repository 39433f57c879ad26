#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Keys for S3 from where the AWS CLI takes them.  Debian's awscli is the
# oracle of which source wins.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"
source "$top/tests/aws.sh"

text_source $((1 << 20)) disk.raw
mkdir -p www/bucket "$HOME/.aws"
qemu-img convert -f raw -O qcow2 disk.raw www/bucket/image
start_web web www log=authorization,x-amz-security-token

# Programs of AWS must not look for an instance's metadata, which takes time.
export AWS_EC2_METADATA_DISABLED=true
aws=/usr/bin/aws
if [ ! -x $aws ]; then
    aws=
    skip "comparison with the AWS CLI" "awscli is not installed"
fi

# uses [PARAMETER...]: run a server.  Sets $used to the access key, the token
# and the region that it signs with, or "refused", and $messages.
uses ()
{
    forget web
    messages=$(with_qcow 'nbdinfo --size "$uri"' -- url=s3://bucket/image \
                         "endpoint-url=${web[web]}" "$@" 2>&1 > /dev/null)
    if [ $? -eq 1 ]; then
        used=refused
        return
    fi
    used=$(asked web | sort -u |
             sed -E 's/.*Credential=([^/]*)\/[0-9]*\/([^/]*).*-token=/\1 \2 /;
                     s/.* authorization=- .*/unsigned/; s/ -$//' | sort -u)
}

# as_aws NAME WANTED [AWS-OPTION...] [-- PARAMETER...]: what we sign with is
# WANTED, and the AWS CLI has that access key, too.
as_aws ()
{
    local name=$1 wanted=$2 options=() key
    shift 2
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        options+=("$1"); shift
    done
    uses "${@:2}"
    is "$name" "$used" "$wanted"
    [ "$aws" ] || return
    key=$($aws "${options[@]}" configure export-credentials --format process \
               2> aws.log | jq -r .AccessKeyId)
    is "... as the AWS CLI" "${key:-none}" \
       "$(sed -E 's/^(unsigned|refused)$/none/; s/ .*//' <<< "$wanted")"
}

# --- Profiles ---------------------------------------------------------

as_aws "no keys anywhere" unsigned

cat > "$HOME/.aws/config" <<'END2'
[default]
region = eu-north-1
s3 =
  addressing_style = path
aws_access_key_id = CONFIG
aws_secret_access_key = S3CRET

[profile in-config]
aws_access_key_id = INCONFIG
aws_secret_access_key = S3CRET
[profile in-both]
aws_access_key_id = NO
aws_secret_access_key = NO
region = eu-west-2
[profile "two words"]
aws_access_key_id = TWOWORDS
aws_secret_access_key = S3CRET
[no-profile]
aws_access_key_id = NO
aws_secret_access_key = NO
[profile half]
aws_access_key_id = HALF
[profile only-region]
region = eu-central-2
END2
as_aws "the config file" "CONFIG eu-north-1"
cat > "$HOME/.aws/credentials" <<'END2'
# A comment
[default]
AWS_Access_Key_ID = SHARED
aws_secret_access_key = S3CRET
[in-both]
aws_access_key_id = INBOTH
aws_secret_access_key = S3CRET
aws_session_token = TOKEN
[profile in-config]
aws_access_key_id = NO
aws_secret_access_key = NO
END2
as_aws "the credentials file overrides the config file" "SHARED eu-north-1"

# PROFILE|WANTED
while IFS='|' read -r profile wanted; do
    as_aws "profile=$profile" "$wanted" --profile "$profile" -- \
           "profile=$profile"
    [ "$wanted" != refused ] ||
        like "... the message" "$messages" 'error: s3: .*(no profile|belong)'
    AWS_PROFILE=$profile as_aws "AWS_PROFILE=$profile" "$wanted"
done <<'END2'
in-config|INCONFIG us-east-1
in-both|INBOTH eu-west-2 TOKEN
two words|TWOWORDS us-east-1
no-profile|refused
missing|refused
half|refused
only-region|unsigned
END2
AWS_PROFILE=missing as_aws "profile= overrides AWS_PROFILE" \
                    "INBOTH eu-west-2 TOKEN" --profile in-both -- profile=in-both
AWS_DEFAULT_PROFILE=in-both as_aws "AWS_DEFAULT_PROFILE" \
                                   "INBOTH eu-west-2 TOKEN"
AWS_DEFAULT_PROFILE=in-both AWS_PROFILE=in-config \
    as_aws "AWS_PROFILE overrides it" "INCONFIG us-east-1"

cp "$HOME/.aws/credentials" shared
sed s/SHARED/ELSEWHERE/ < shared > elsewhere
AWS_SHARED_CREDENTIALS_FILE=$tmp/elsewhere \
    as_aws "AWS_SHARED_CREDENTIALS_FILE" "ELSEWHERE eu-north-1"
AWS_SHARED_CREDENTIALS_FILE=elsewhere \
    as_aws "... a relative name" "ELSEWHERE eu-north-1"
cp elsewhere "$HOME/"
# shellcheck disable=SC2088
AWS_SHARED_CREDENTIALS_FILE='~/elsewhere' \
    as_aws "... a name in the home directory" "ELSEWHERE eu-north-1"
AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_CONFIG_FILE=/nonexistent \
    as_aws "... empty and missing files" unsigned
AWS_CONFIG_FILE=/dev/null as_aws "AWS_CONFIG_FILE" "SHARED us-east-1"
AWS_SHARED_CREDENTIALS_FILE=$tmp uses
is "... a directory" "$used" refused
like "... the message" "$messages" "error: s3: $tmp: Is a directory"

# --- The order --------------------------------------------------------

export AWS_ACCESS_KEY_ID=ENVIRONMENT AWS_SECRET_ACCESS_KEY=S3CRET
as_aws "the environment overrides the default profile" "ENVIRONMENT eu-north-1"
AWS_PROFILE=in-both as_aws "... and AWS_PROFILE" "ENVIRONMENT eu-west-2"
as_aws "profile= overrides the environment" "INBOTH eu-west-2 TOKEN" \
       --profile in-both -- profile=in-both
AWS_REGION=eu-west-3 as_aws "AWS_REGION overrides the profile's region" \
                            "ENVIRONMENT eu-west-3"
uses access-key=PARAMETER secret-key=S3CRET profile=in-both region=eu-south-1
is "parameters override all" "$used" "PARAMETER eu-south-1"
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY

# --- Web identities ---------------------------------------------------

role=arn:aws:iam::123456789012:role/x
# (It has to be encoded, and white space at the end does not count.)
identity='eyJ.a+b/c=&%20 é'
start_aws "token=$identity" role=$role
printf '%s\n' "$identity" > identity

# temporary NAME SOURCE WANTED [-- AWS-OPTION...] [-- PARAMETER...]: we send the
# requests WANTED and use the keys, and the AWS CLI, which can't send them,
# stops at SOURCE.
temporary ()
{
    local name=$1 source=$2 wanted=$3 options=()
    shift 3
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        options+=("$1"); shift
    done
    asked_aws > /dev/null
    uses "${@:2}"
    is "$name" "$(asked_aws | cut -d' ' -f1-3)" "$wanted"
    like "... the keys are used" "$used" '^ASIA[0-9X]* [^ ]* TOKEN'
    [ "$aws" ] || return
    is "... as the AWS CLI" \
       "$(HTTPS_PROXY=http://127.0.0.1:1 AWS_MAX_ATTEMPTS=1 \
          $aws "${options[@]}" --debug configure export-credentials 2>&1 |
             sed -n 's/.*Looking for credentials via: //p' | tail -1)" \
       "$source"
}

export AWS_ENDPOINT_URL_STS=$aws_server
export AWS_WEB_IDENTITY_TOKEN_FILE=$tmp/identity AWS_ROLE_ARN=$role
sts=assume-role-with-web-identity
temporary "a web identity overrides the default profile" $sts "POST / 200"
AWS_PROFILE=in-both temporary "... and AWS_PROFILE" $sts "POST / 200"
as_aws "profile= overrides it" "INBOTH eu-west-2 TOKEN" \
       --profile in-both -- profile=in-both
AWS_ACCESS_KEY_ID=ENVIRONMENT AWS_SECRET_ACCESS_KEY=S3CRET \
    as_aws "keys in the environment override it" "ENVIRONMENT eu-north-1"
unset AWS_ROLE_ARN
as_aws "without a role" refused
like "... the message" "$messages" 'error: s3: .*identity.*, but no role$'
unset AWS_WEB_IDENTITY_TOKEN_FILE
# A profile can have all of it.
cat > config <<END2
[profile web]
region = eu-west-2
role_arn = $role
web_identity_token_file = identity
role_session_name = session
aws_access_key_id = NO
aws_secret_access_key = NO
[profile file]
web_identity_token_file = identity
END2
export AWS_CONFIG_FILE=$tmp/config
temporary "a profile" $sts "POST / 200" --profile web -- profile=web
like "... the region" "$used" ' eu-west-2 '
AWS_PROFILE=web temporary "AWS_PROFILE" $sts "POST / 200"
AWS_PROFILE=file AWS_ROLE_ARN=$role \
    temporary "a profile with the file, the environment with the role" $sts \
              "POST / 200"
unset AWS_CONFIG_FILE

# Without an endpoint, keys come from Amazon's server in the region.
(
    unset AWS_ENDPOINT_URL_STS
    AWS_WEB_IDENTITY_TOKEN_FILE=$tmp/identity AWS_ROLE_ARN=$role \
        uses region=eu-west-1 resolve=sts.eu-west-1.amazonaws.com:443:127.0.0.1
    echo "$messages" > log
)
like "the server of STS in the region" "$(< log)" \
     'no keys.*STS: .*Failed to connect to sts.eu-west-1.amazonaws.com( port |:)443'
for url in ftp://x http://h/?x 'http://a b'; do
    AWS_ENDPOINT_URL_STS=$url AWS_WEB_IDENTITY_TOKEN_FILE=$tmp/identity \
        AWS_ROLE_ARN=$role uses
    like "AWS_ENDPOINT_URL_STS=$url" "$messages" \
         'error: s3: the endpoint of STS: '
done
unset AWS_ENDPOINT_URL_STS

# --- Commands ---------------------------------------------------------

keys='{"Version":1,"AccessKeyId":"PROCESS","SecretAccessKey":"S3CRET","SessionToken":"TOKEN"}'
echo "$keys" > "with space"
cat > config <<END2
[default]
region = eu-north-1
credential_process = cat "$tmp/with space"
aws_access_key_id = CONFIG
aws_secret_access_key = S3CRET
[profile shared]
credential_process = false
END2
cat > process <<END2
[shared]
credential_process = cat '$tmp/with space'
END2
export AWS_CONFIG_FILE=$tmp/config AWS_SHARED_CREDENTIALS_FILE=$tmp/shared
as_aws "keys in the credentials file override a command" "SHARED eu-north-1"
export AWS_SHARED_CREDENTIALS_FILE=$tmp/process
as_aws "a command overrides keys in the config file" "PROCESS eu-north-1 TOKEN"
AWS_PROFILE=shared as_aws "a command in the credentials file" \
                          "PROCESS us-east-1 TOKEN"
AWS_CONTAINER_CREDENTIALS_FULL_URI=$aws_server/container \
    as_aws "a command overrides a container" "PROCESS eu-north-1 TOKEN"
AWS_WEB_IDENTITY_TOKEN_FILE=$tmp/identity AWS_ROLE_ARN=$role \
    AWS_ENDPOINT_URL_STS=$aws_server \
    temporary "a web identity overrides it" $sts "POST / 200"
# COMMAND|REGEX: what the message says of it
while IFS='|' read -r command regex; do
    printf '[default]\ncredential_process = %s\n' "$command" > config
    as_aws "the command $command" refused
    like "... the message" "$messages" "no keys.*: credential_process: $regex"
    unlike "... is without secrets" "$messages" S3CRET
done <<'END2'
false|exit status 1
sh -c 'echo no luck >&2; echo S3CRET; exit 3'|exit status 3: no luck
/nonexistent/program|exit status 127: .*not found
echo S3CRET|the response is not a JSON object
echo '{"AccessKeyId":"S3CRET","SecretAccessKey":"x"}'|the response has no Version of 1
echo '{"Version":2,"AccessKeyId":"S3CRET","SecretAccessKey":"x"}'|the response has no Version
echo '{"Version":1,"AccessKeyId":"S3CRET"}'|the response has no SecretAccessKey
END2
unset AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE

# --- Containers -------------------------------------------------------

export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
set_aws "token=Bearer x" role=
export AWS_CONTAINER_CREDENTIALS_FULL_URI=$aws_server/container
AWS_CONTAINER_AUTHORIZATION_TOKEN='Bearer x' \
    temporary "a container" container-role "GET /container 200"
AWS_CONTAINER_AUTHORIZATION_TOKEN='Bearer x' proxy=http://127.0.0.1:1 uses
like "... not through a proxy" "$used" '^ASIA'
echo 'Bearer x' > token
AWS_CONTAINER_AUTHORIZATION_TOKEN=other \
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=token uses
like "a file with the token overrides the token" "$used" '^ASIA'
AWS_SHARED_CREDENTIALS_FILE=$tmp/shared \
    as_aws "keys in a file override the container's" "SHARED us-east-1"
AWS_CONTAINER_AUTHORIZATION_TOKEN=other uses
like "a wrong token: the message" "$messages" \
     "no keys.*: the server of the container's keys responded with 400 Bad Request \(InvalidToken\)$"
unlike "... does not contain the token" "$messages" 'Bearer'
AWS_CONTAINER_AUTHORIZATION_TOKEN=$'x\r\ny: z' uses
like "a token with a line break: the message" "$messages" \
     'no keys.*: the token has a line break'
set_aws token=
AWS_CONTAINER_CREDENTIALS_FULL_URI=${aws_server/127.0.0.1/localhost}/container \
    uses resolve="localhost:${aws_server##*:}:127.0.0.1"
like "localhost, without a token" "$used" '^ASIA'
# URI REGEX: the message
while read -r uri regex; do
    AWS_CONTAINER_CREDENTIALS_FULL_URI=$uri uses \
        resolve={169.254.170.2,169.254.170.23}:80:127.0.0.1 \
        resolve=https.test:443:127.0.0.1
    like "$uri" "$messages" "error: s3.*: $regex"
done <<'END2'
http://example.com/x the URI of the container's keys: must be https
http://127.0.0.1.example.com/x the URI of the container's keys: must be https
http://localhost.example.com/x the URI of the container's keys: must be https
http://128.0.0.1/x the URI of the container's keys: must be https
http://127.0.0.1@example.com/x the URI of the container's keys: must be https
http://[::2]/x the URI of the container's keys: must be https
ftp://127.0.0.1/x the URI of the container's keys: must be an http
http:// the URI of the container's keys:
https://https.test/x .*keys: .*connect to https.test
http://127.1.2.3:1/x .*keys: .*connect to 127.1.2.3
http://[::1]:1/x .*keys: .*connect to (::1|\[::1\])
END2
AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/x \
    uses resolve=169.254.170.2:80:127.0.0.1
like "a relative URI" "$messages" 'keys: .*(onnect|responded|Time)'
AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=@127.0.0.1/x uses
like "... that is no path" "$messages" "container's keys: must begin with '/'"

# --- Instances --------------------------------------------------------

set_aws "role=the role"
token='PUT /latest/api/token 200'
roles=/latest/meta-data/iam/security-credentials/
requests="$token"$'\n'"GET $roles 200"$'\n'"GET ${roles}the%20role 200"
unset AWS_EC2_METADATA_DISABLED
export AWS_EC2_METADATA_SERVICE_ENDPOINT=$aws_server
container=$AWS_CONTAINER_CREDENTIALS_FULL_URI
unset AWS_CONTAINER_CREDENTIALS_FULL_URI
set_aws "role=the role"
asked_aws > /dev/null
uses
is "instance-metadata= is false by default" "$used" unsigned
is "... nobody asks for it" "$(asked_aws)" ""
temporary "instance-metadata=true" iam-role "$requests" -- \
          instance-metadata=true
AWS_EC2_METADATA_SERVICE_ENDPOINT=$aws_server/ uses instance-metadata=true
like "... an endpoint with a slash" "$used" '^ASIA'
set_aws token=
AWS_CONTAINER_CREDENTIALS_FULL_URI=$container \
    temporary "a container overrides it" container-role "GET /container 200" \
              -- instance-metadata=true
set_aws role=
uses instance-metadata=true
like "an instance without a role" "$messages" \
     'no keys.*: the instance metadata service responded with 404 Not Found$'
set_aws body=
AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1 uses instance-metadata=true
like "no instance" "$messages" \
     'no keys.*: the instance metadata service: Failed to connect'
AWS_EC2_METADATA_SERVICE_ENDPOINT='http://h/?x' uses instance-metadata=true
like "AWS_EC2_METADATA_SERVICE_ENDPOINT with a query" "$messages" \
     'error: s3: the endpoint of the instance metadata service: must have no'
uses instance-metadata=maybe
is "instance-metadata=maybe" "$used" refused
export AWS_EC2_METADATA_DISABLED=true
unset AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE

# --- What can be wrong ------------------------------------------------

(cat shared; echo S3CRETLINE) > "$HOME/.aws/credentials"
as_aws "a malformed file" refused
like "... the message" "$messages" \
     'error: s3: ~/.aws/credentials: line 12 is not valid$'
unlike "... does not quote the line" "$messages" S3CRET
cp shared "$HOME/.aws/credentials"
# SETTING
while read -r setting; do
    printf '[profile other]\n%s\n' "$setting" > config
    AWS_CONFIG_FILE=$tmp/config AWS_PROFILE=other as_aws "$setting" refused
    like "... the message" "$messages" \
         "error: s3: the profile 'other' has ${setting%% *}, which is not supp"
done <<'END2'
sso_start_url = https://example.com
sso_session = my
END2
printf '[default]\nrole_arn = arn:x\nsource_profile = other\n' > config
AWS_CONFIG_FILE=$tmp/config uses
is "a role with the keys of another profile" "$used" refused
like "... the message" "$messages" \
     "error: s3: the profile 'default' has role_arn without web_identity_token_"
HOME='' uses
is "no home directory" "$used" unsigned
messages=$(with_qcow 'nbdinfo --size "$uri"' -- "url=${web[web]}/bucket/image" \
                     profile=in-both 2>&1)
like "profile= for an http URL" "$messages" \
     "error: ${web[web]}/bucket/image: .*profile= .*are only used for s3://"

done_testing
