#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Temporary keys for S3 that expire while an image is copied: renewed in time,
# when the server rejects them, and when the source of keys fails meanwhile.
#
# Keys live for a few seconds here, so they are renewed when half of that is
# over.  The web server refuses those that have expired.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"
source "$top/tests/aws.sh"

text_source $((2 << 20)) disk.raw
mkdir -p www/bucket
qemu-img convert -f raw -O qcow2 disk.raw www/bucket/image
# shellcheck disable=SC2016
copy='if nbdcopy --connections=1 "$uri" - | cmp - disk.raw
      then echo same; else echo differs; fi'

identity=eyJS3CRETS3CRET
role=arn:aws:iam::123456789012:role/x
echo $identity > identity
there=(url=s3://bucket/image connections=1)
export AWS_WEB_IDENTITY_TOKEN_FILE=$tmp/identity AWS_ROLE_ARN=$role
start_aws
sts=("token=$identity" "role=$role" issuer=me)
set_aws "${sts[@]}"
export AWS_ENDPOINT_URL_STS=$aws_server
start_web web www issuer=me log=authorization
export AWS_ENDPOINT_URL=${web[web]}

# secretive TEXT: it contains no secret.
secretive ()
{
    unlike "... no message contains a secret" \
           "$(grep -v ' config key=' <<< "$1")" 'S3CRET|ASIA|SECRET|TOKEN'
}

# generations: print how many keys the copy used.
generations ()
{
    asked web | grep -o 'Credential=[^/]*' | sort -u | wc -l
}

# --- While a copy runs ------------------------------------------------

# copies NAME [WEB-SETTING...]: a copy that takes some 5 seconds.
copies ()
{
    local name=$1
    set_web web rate=450000 "${@:2}"
    forget web
    asked_aws > /dev/null
    messages=$(with_qcow "$copy" -v -- "${there[@]}" 2>&1 > out)
    is "$name" "$(< out)" same
    secretive "$messages"
}

set_aws "${sts[@]}" lifetime=3
copies "keys that live for three seconds" rate=300000
ok "... at least three generations are used" test "$(generations)" -ge 3
is "... no request is refused" "$(how_often web ' 206 ')" "$(how_often web)"
set_aws "${sts[@]}" lifetime=4 latency=1
copies "a source that takes one second"
is "... no request is refused" "$(how_often web ' 206 ')" "$(how_often web)"

unset AWS_WEB_IDENTITY_TOKEN_FILE
set_aws "${sts[@]}" lifetime=3
AWS_CONTAINER_CREDENTIALS_FULL_URI=$aws_server/container \
    AWS_CONTAINER_AUTHORIZATION_TOKEN=$identity copies "a container's keys" \
    rate=300000
ok "... at least three generations are used" test "$(generations)" -ge 3
set_aws issuer=me role=instance lifetime=3
there+=(instance-metadata=true)
AWS_EC2_METADATA_SERVICE_ENDPOINT=$aws_server copies "an instance's keys" \
    rate=300000
ok "... at least three generations are used" test "$(generations)" -ge 3
cat > get-keys <<'END'
import json, sys, time, urllib.request
time.sleep(1)
with urllib.request.urlopen(urllib.request.Request(
        sys.argv[1], headers={"Authorization": sys.argv[2]})) as response:
    keys = json.load(response)
print(json.dumps({"Version": 1, "SessionToken": keys["Token"], **keys}))
END
cat > config <<END
[default]
credential_process = "$python" "$tmp/get-keys" $aws_server/container $identity
END
set_aws "${sts[@]}" lifetime=4
AWS_CONFIG_FILE=$tmp/config copies "a command that takes one second" \
    rate=300000
ok "... at least three generations are used" test "$(generations)" -ge 3
is "... no request is refused" "$(how_often web ' 206 ')" "$(how_often web)"
export AWS_WEB_IDENTITY_TOKEN_FILE=$tmp/identity

# The server has another clock.
for status in 400 403; do
    set_aws "${sts[@]}" lifetime=1 claim=3600
    copies "keys that expire earlier than announced, $status" expired=$status
    ok "... some are refused" test "$(how_often web ' '$status)" -ge 1
    ok "... at least three generations are used" test "$(generations)" -ge 3
done
set_aws "${sts[@]}" lifetime=-1 claim=3600
set_web web
forget web
messages=$(with_qcow 'nbdinfo "$uri"' -- "${there[@]}" 2>&1)
like "keys that are always refused: the message" "$messages" \
     'error: s3://bucket/image: .*403 Forbidden \(ExpiredToken\)'
is "... after some generations" "$(generations)" 4
secretive "$messages"

# A server that repeats the token.
token=TOKENS3CRET1234567890
printf '%s\n' '{"Version": 1, "AccessKeyId": "ASIA1", "SecretAccessKey": "S",' \
       "\"SessionToken\": \"$token\"}" > fixed-keys
printf '[default]\ncredential_process = cat %s/fixed-keys\n' "$tmp" > config
start_web echo www "fail=range:bytes $token*"
messages=$(unset AWS_WEB_IDENTITY_TOKEN_FILE
           AWS_ENDPOINT_URL=${web[echo]} AWS_CONFIG_FILE=$tmp/config \
               with_qcow 'nbdinfo "$uri"' -- url=s3://bucket/image 2>&1)
like "a server that repeats the token: the message" "$messages" \
     "Content-Range is not valid: '\(not shown: it contains a secret\)'"
secretive "$messages"

# --- The source of keys fails -----------------------------------------

# STS fails for a while, but not until the keys expire.
set_aws "${sts[@]}" lifetime=6
(sleep 1; set_aws fail=503; sleep 3; set_aws "${sts[@]}" lifetime=60) &
copies "a source that fails for a while" rate=300000
wait $!
is "... is one warning" "$(grep -c 'warning: s3' <<< "$messages")" 1
like "... it says why" "$messages" \
     'warning: s3: the keys expire in [123] s, .*: STS responded with 503 Service Unavailable \(AccessDenied\)'
is "... no request is refused" "$(how_often web ' 206 ')" "$(how_often web)"

# It fails until they expire.
set_aws "${sts[@]}" lifetime=3
(sleep 1; set_aws fail=403) &
set_web web rate=300000
messages=$(with_qcow 'nbdcopy --connections=1 "$uri" null:' -- "${there[@]}" 2>&1)
is "a source that fails for good: the copy fails" "$?" 1
wait $!
like "... the message" "$messages" \
     "error: .*image: can't read .*: the keys have expired, and could not be renewed: STS responded with 403 Forbidden \(AccessDenied\)$"
is "... there is one" \
   "$(grep -c "can't read .*could not be renewed" <<< "$messages")" 1
secretive "$messages"
set_web web

# --- When nbdkit starts -----------------------------------------------

# starts NAME REGEX: nbdkit does not start, and says why.
starts ()
{
    messages=$(with_qcow true -- "${there[@]}" 2>&1)
    is "$1: nbdkit does not start" $? 1
    like "... the message" "$messages" \
         "error: s3://bucket/image: can't open it: there are no keys to sign with: $2$"
    secretive "$messages"
}

forget web
set_aws fail=403
starts "a refused role" 'STS responded with 403 Forbidden \(AccessDenied\)'
set_aws token=other
starts "a wrong token" 'STS responded with 400 Bad Request \(InvalidIdentityToken\)'
asked_aws > /dev/null
set_aws fail=503
starts "a broken source" 'STS responded with 503 Service Unavailable \(AccessDenied\)'
is "... is asked three times" "$(asked_aws | wc -l)" 3
set_aws body=S3CRET
starts "not the XML of STS" 'STS: the response has no AccessKeyId'
set_aws "body=<Credentials><AccessKeyId>AS&amp;S3CRET</AccessKeyId><SecretAccessKey>x</SecretAccessKey></Credentials>"
starts "a strange key" 'STS: a key in the response is not valid'
set_aws "body=$(head -c 70000 /dev/zero | tr '\0' ' ')"
starts "a long response" 'STS: the response is too long'
set_aws "${sts[@]}" lifetime=-5
starts "keys that have expired" 'STS sends keys that have expired'
set_aws "${sts[@]}"
: > identity
starts "an empty token" "the file .*/identity is empty"
rm identity
starts "no token" "can't read the token in .*/identity: No such file or directory"
AWS_ENDPOINT_URL_STS=http://127.0.0.1:1
echo $identity > identity
starts "no server" "STS: Failed to connect .*"
is "no request is sent" "$(how_often web)" 0

done_testing
